/*
 * What a profiler is to NVTX: a library that the environment variable NVTX_INJECTION64_PATH names, which NVTX loads at
 * its first call, and which puts functions of its own in place of those that do nothing. This one writes down the names
 * of ranges as they begin, and a full stop as they end.
 */
#include <nvtx3/nvToolsExt.h>
#include <string.h>

/* For the test to read. */
char ranges_seen[256];

void ranges_clear(void);
void ranges_clear(void)
{
    ranges_seen[0] = '\0';
}

static void note(const char *text)
{
    strncat(ranges_seen, text, sizeof ranges_seen - strlen(ranges_seen) - 1);
}

static int push(const char *name)
{
    note(name);
    return 0;
}

static int pop(void)
{
    note(".");
    return 0;
}

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table);
int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table)
{
    NvtxFunctionTable functions;
    unsigned size = 0;
    const NvtxExportTableCallbacks *callbacks = get_table(NVTX_ETID_CALLBACKS);
    if (!callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &functions, &size) || size <= NVTX_CBID_CORE_RangePop)
        return 0;
    *functions[NVTX_CBID_CORE_RangePushA] = (NvtxFunctionPointer)push;
    *functions[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
    return 1;
}
