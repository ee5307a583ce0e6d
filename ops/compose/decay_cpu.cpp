#include "ops/compose/bodies_cpu.h"
#include "ops/compose/decay-inl.h"
