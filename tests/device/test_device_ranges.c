/* The ranges that profilers are shown, through NVTX, as emulator/ranges.c sees them. */
#include "twins.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdlib.h>

Test(device_ranges, every_call)
{
    need_devices(1);
#ifndef RANGES_LIBRARY
    cr_skip_test("these CUDA headers are without NVTX's");
#else
    setenv("NVTX_INJECTION64_PATH", RANGES_LIBRARY, 1); /* before NVTX's first call */
    void *library = dlopen(RANGES_LIBRARY, RTLD_NOW);
    cr_assert(library, "%s", dlerror());
    const char *seen = dlsym(library, "ranges_seen");
    void (*clear)(void) = (void (*)(void))dlsym(library, "ranges_clear");
    cr_assert(seen && clear);

    const shape shapes[] = {{.count = 300}};
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_ADAM));
    twins *t = twins_new(&group, 1, shapes, 1, 1, 1);
    twins_create(t, 0);
    cr_expect_str_eq(seen, "fopt_create.");
    twins_step(t);
    twins_zero_grads(t);
    cr_expect_str_eq(seen, "fopt_create.fopt_step.fopt_zero_grads.");
    clear();
    twins_set_lr(t, 0, 0.5);
    twins_set_group(t, 0, &group);
    twins_set_step(t, 0, 3);
    twins_set_grads(t, 0, 0);
    cr_expect_str_eq(seen, "fopt_set_lr.fopt_set_group.fopt_set_step.fopt_set_grads.");
    clear();
    twins_update(t, 0, 1);
    twins_compare(t);
    cr_expect_str_eq(seen, "fopt_update.fopt_get_step.");
    clear();
    float first;
    expect_ok(fopt_copy(t->cuda, &first, t->device[0].param, sizeof first, NULL));
    cr_expect_str_eq(seen, "fopt_copy.");
    clear();
    fopt_destroy(t->cuda);
    t->cuda = NULL;
    cr_expect_str_eq(seen, "fopt_destroy.");
    twins_free(t);
#endif
}
