#include "ops/compose/bodies_cuda.h"
#include "ops/compose/pointwise-inl.h"
