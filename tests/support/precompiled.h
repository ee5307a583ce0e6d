#pragma once

// What most test programs include, compiled once (cmake/Precompile.cmake).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/precompiled.h"
