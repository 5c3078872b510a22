/*
 * Names of kernels and extents of shared arrays, from the symbol tables of the program and its libraries: those are in
 * the files, not in memory, and dladdr() knows exported names alone.
 */
#include "machine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <map>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct module {
    uintptr_t base;
    std::vector<emu_symbol> symbols;       /* functions and variables, by address */
    std::vector<emu_symbol> thread_local_; /* offsets into the thread-local memory, by offset */
    uintptr_t thread_local_bytes;
    std::vector<std::pair<uintptr_t, uintptr_t>> constant; /* segments that cannot be written */
    emu_arrays arrays;
};

/* ---- reading a file ------------------------------------------------------------------------------------------ */

static void read_symbols(module *m, const char *file, const ElfW(Shdr) * sections, const ElfW(Shdr) * table)
{
    const char *names = file + sections[table->sh_link].sh_offset;
    const auto *symbols = reinterpret_cast<const ElfW(Sym) *>(file + table->sh_offset);
    for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
        const ElfW(Sym) &s = symbols[i];
        const int type = ELF64_ST_TYPE(s.st_info);
        if (s.st_shndx == SHN_UNDEF || s.st_size == 0)
            continue;
        if (type == STT_TLS)
            m->thread_local_.push_back({names + s.st_name, s.st_value, s.st_value + s.st_size});
        else if (type == STT_FUNC || type == STT_OBJECT)
            m->symbols.push_back({names + s.st_name, m->base + s.st_value, m->base + s.st_value + s.st_size});
    }
}

static void sort(std::vector<emu_symbol> *symbols)
{
    std::sort(symbols->begin(), symbols->end(),
              [](const emu_symbol &a, const emu_symbol &b) { return a.begin < b.begin; });
}

/* Reads a file, which stays mapped: names point into it. */
static void read_file(module *m, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || (size_t)status.st_size < sizeof(ElfW(Ehdr))) {
        if (fd >= 0)
            close(fd);
        return;
    }
    void *map = mmap(nullptr, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return;
    const char *file = static_cast<const char *>(map);
    const auto *header = reinterpret_cast<const ElfW(Ehdr) *>(file);
    const auto *sections = reinterpret_cast<const ElfW(Shdr) *>(file + header->e_shoff);
    for (unsigned i = 0; i < header->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB)
            read_symbols(m, file, sections, &sections[i]);
    sort(&m->symbols);
    sort(&m->thread_local_);
}

/* ---- modules ------------------------------------------------------------------------------------------------- */

static std::map<uintptr_t, module *> &modules() /* by base */
{
    static auto *const all = new std::map<uintptr_t, module *>;
    return *all;
}

struct question {
    uintptr_t address;
    module *answer;
    uintptr_t thread_local_begin;
};

static module *read_module(const struct dl_phdr_info *info)
{
    module *m = new module();
    m->base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &p = info->dlpi_phdr[i];
        const uintptr_t begin = m->base + p.p_vaddr;
        if (p.p_type == PT_TLS)
            m->thread_local_bytes = p.p_memsz;
        /* What is constant but for relocations is written once by the loader. */
        if (p.p_type == PT_GNU_RELRO || (p.p_type == PT_LOAD && !(p.p_flags & PF_W)))
            m->constant.push_back({begin, begin + p.p_memsz});
    }
    read_file(m, info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe");
    return m;
}

static int ask_module(struct dl_phdr_info *info, size_t, void *data)
{
    question *q = static_cast<question *>(data);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &p = info->dlpi_phdr[i];
        const uintptr_t begin = info->dlpi_addr + p.p_vaddr;
        if (p.p_type != PT_LOAD || q->address < begin || q->address >= begin + p.p_memsz)
            continue;
        module *&m = modules()[info->dlpi_addr];
        if (!m)
            m = read_module(info);
        q->answer = m;
        q->thread_local_begin = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
        return 1;
    }
    return 0;
}

static question ask(uintptr_t address)
{
    question q = {address, nullptr, 0};
    dl_iterate_phdr(ask_module, &q);
    return q;
}

bool emu_find_symbol(uintptr_t address, emu_symbol *symbol)
{
    const module *m = ask(address).answer;
    if (!m)
        return false;
    auto after = std::upper_bound(m->symbols.begin(), m->symbols.end(), address,
                                  [](uintptr_t x, const emu_symbol &s) { return x < s.begin; });
    if (after == m->symbols.begin() || address >= (after - 1)->end)
        return false;
    *symbol = *(after - 1);
    return true;
}

bool emu_is_constant(uintptr_t address)
{
    /* Tables are read over and over. */
    static uintptr_t begin, end;
    if (address >= begin && address < end)
        return true;
    const module *m = ask(address).answer;
    if (m)
        for (const auto &segment : m->constant)
            if (address >= segment.first && address < segment.second) {
                begin = segment.first;
                end = segment.second;
                return true;
            }
    return false;
}

/* ---- kernels ------------------------------------------------------------------------------------------------- */

/* Finds the shared arrays anew at each launch, since each host thread has its own. A static variable of a C++ function
 * is _ZZ...; of those, the thread-local ones are taken for shared arrays. */
const emu_arrays *emu_shared_arrays(const void *kernel)
{
    static const emu_arrays none = {};
    const question q = ask(reinterpret_cast<uintptr_t>(kernel));
    if (!q.answer || q.thread_local_begin == 0)
        return &none;
    emu_arrays *arrays = &q.answer->arrays;
    arrays->begin = q.thread_local_begin;
    arrays->end = q.thread_local_begin + q.answer->thread_local_bytes;
    arrays->statics.clear();
    for (const emu_symbol &s : q.answer->thread_local_)
        if (strncmp(s.name, "_ZZ", 3) == 0)
            arrays->statics.push_back({s.name, arrays->begin + s.begin, arrays->begin + s.end});
    return arrays;
}

struct kernel_names {
    std::string full, base;
};

static std::string demangle(const char *name)
{
    int status = 0;
    char *text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string result = status == 0 && text ? text : name;
    free(text);
    return result;
}

static const kernel_names &names_of(const void *kernel)
{
    static auto *const known = new std::map<const void *, kernel_names>;
    auto found = known->find(kernel);
    if (found != known->end())
        return found->second;
    kernel_names names;
    emu_symbol symbol;
    names.full = emu_find_symbol(reinterpret_cast<uintptr_t>(kernel), &symbol) ? demangle(symbol.name) : "a kernel";
    std::string base = names.full;
    static const char unnamed[] = "(anonymous namespace)::";
    for (size_t at; (at = base.find(unnamed)) != std::string::npos;)
        base.erase(at, sizeof unnamed - 1);
    base = base.substr(0, base.find_first_of("<("));
    const size_t last = base.find_last_of(" :");
    names.base = last == std::string::npos ? base : base.substr(last + 1);
    return (*known)[kernel] = names;
}

const char *emu_kernel_name(const void *kernel)
{
    return names_of(kernel).full.c_str();
}

const char *emu_kernel_base_name(const void *kernel)
{
    return names_of(kernel).base.c_str();
}

/* Returns the length of the instruction of no operation at `code`, or 0. */
static unsigned no_operation(const unsigned char *code)
{
    unsigned i = 0;
    while (code[i] == 0x66 || code[i] == 0x2e)
        i++;
    if (code[i] == 0x90)
        return i + 1;
    if (code[i] != 0x0f || code[i + 1] != 0x1f)
        return 0;
    static const unsigned displacement[4] = {0, 1, 4, 0};
    const unsigned form = code[i + 2];
    return i + 3 + ((form & 7u) == 4) + displacement[form >> 6];
}

unsigned emu_launch_bounds(const void *kernel)
{
#if defined(__x86_64__)
    const unsigned char *code = static_cast<const unsigned char *>(kernel);
    static const unsigned char landing[] = {0xf3, 0x0f, 0x1e, 0xfa}; /* endbr64 */
    if (memcmp(code, landing, sizeof landing) == 0)
        code += sizeof landing;
    if (code[0] == 0xeb && code[1] == 0x06) /* clang's -fsanitize=function: a jump over what describes the type */
        code += 8;
    unsigned bytes = 0;
    for (unsigned length; bytes < 40 && (length = no_operation(code + bytes)) != 0;)
        bytes += length;
    return bytes > 1 ? (bytes - 1) * 32 : 1024;
#else
    (void)kernel;
    return 1024;
#endif
}
