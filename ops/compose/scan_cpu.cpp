#include "ops/compose/bodies_cpu.h"
#include "ops/compose/scan-inl.h"
