#include "ops/compose/bodies_cuda.h"
#include "ops/compose/decay-inl.h"
