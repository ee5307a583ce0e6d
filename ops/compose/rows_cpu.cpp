#include "ops/compose/bodies_cpu.h"
#include "ops/compose/rows-inl.h"
