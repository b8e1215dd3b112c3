/* All kernels, for the instructions of one variant. */

#include "depthwise.c"
#include "pointwise.c"
#include "winograd.c"
