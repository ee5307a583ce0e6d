#include "ops/compose/bodies_cpu.h"
#include "ops/compose/pointwise-inl.h"
