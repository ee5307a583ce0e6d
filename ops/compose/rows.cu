#include "ops/compose/bodies_cuda.h"
#include "ops/compose/rows-inl.h"
