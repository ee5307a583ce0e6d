#include "ops/compose/bodies_cuda.h"
#include "ops/compose/scan-inl.h"
