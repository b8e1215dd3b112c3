/* What the processor has and what the library was made of; the only code that is not of a variant. */

#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED const char kdb_sources[] = SOURCES;

EXPORTED int kdb_supports(const char *variant) {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    if (!strcmp(variant, "avx2")) return 1;
    return !strcmp(variant, "avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
