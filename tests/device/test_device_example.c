/* examples/graph.c. */
int example_main(void);
#define main example_main
#include "../../examples/graph.c" /* NOLINT(bugprone-suspicious-include) */
#undef main

#include "twins.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>

Test(device_example, graph, .init = cr_redirect_stdout)
{
    need_devices(1);
    cr_expect_eq(example_main(), 0);
    fflush(stdout);
    cr_expect_stdout_eq_str("after 3 steps: 0.1875 0.375 0.75 1.5\n");
}
