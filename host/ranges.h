/* NVTX ranges, by which profilers show what a call spends: a load and a branch each where none listens, and nothing at
 * all where CUDA came without NVTX's headers. */
#ifndef FOPT_I_RANGES_H
#define FOPT_I_RANGES_H

#if __has_include(<nvtx3/nvToolsExt.h>)

/* Makes everything static: NVTX's functions and table are weak symbols otherwise, which the static library would
 * export. */
#define NVTX_SUPPORT_STATIC_INJECTION_LIBRARY 0
#include <nvtx3/nvtxDetail/nvtxLinkOnce.h>
#undef NVTX_LINKONCE_DEFINE_GLOBAL
#undef NVTX_LINKONCE_DEFINE_FUNCTION
#undef NVTX_LINKONCE_FWDDECL_GLOBAL
#undef NVTX_LINKONCE_FWDDECL_FUNCTION
#define NVTX_LINKONCE_DEFINE_GLOBAL    static
#define NVTX_LINKONCE_DEFINE_FUNCTION  static inline
#define NVTX_LINKONCE_FWDDECL_GLOBAL   static
#define NVTX_LINKONCE_FWDDECL_FUNCTION static inline
#include <nvtx3/nvToolsExt.h>

#define FOPT_I_BEGIN_RANGE(name) nvtxRangePushA(name)
#define FOPT_I_END_RANGE()       nvtxRangePop()

#else

#define FOPT_I_BEGIN_RANGE(name) ((void)0)
#define FOPT_I_END_RANGE()       ((void)0)

#endif

#endif
