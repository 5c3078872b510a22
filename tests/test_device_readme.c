/* The README's example of a graph. */
int readme_main(void);
#define main readme_main
#include "readme_3.h"
#undef main

#include "device.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>

Test(device_readme, graph, .init = cr_redirect_stdout)
{
    need_devices(1);
    cr_expect_eq(readme_main(), 0);
    fflush(stdout);
    cr_expect_stdout_eq_str(PRINTS "\n");
}
