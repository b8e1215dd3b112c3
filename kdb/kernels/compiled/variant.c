/* All kernels, for the instructions of one variant. */

#include "depthwise.c"
#include "gathered.c"
#include "max_pool.c"
#include "union.c"
#include "winograd.c"
