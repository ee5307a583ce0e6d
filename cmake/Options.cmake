include(CMakeDependentOption)
# Every switch of the build. ON means required: a missing dependency stops the configuration.
option(BRAID_MPI "Build the MPI communicator" ON)
option(BRAID_OPENMP "Use OpenMP threads inside operations" ON)
cmake_dependent_option(BRAID_ONEDNN "Multiply bf16 matrices with oneDNN where the processor has the instructions" ON
                       BRAID_OPENMP OFF) # its threads are those of OpenMP
option(BRAID_CUDA "Build the CUDA and NCCL backend" OFF)
option(BRAID_CUDA_EMULATION "Run the CUDA backend on the CPU, against the runtime in tests/cuda_emulation" OFF)
option(BRAID_BUILD_TESTS "Build the tests" ON)
option(BRAID_BUILD_BENCH "Build the benchmarks" ON)
option(BRAID_WERROR "Treat warnings as errors" OFF)
set(BRAID_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them (address,undefined or thread)")

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(BRAID_CCACHE ccache)
if(BRAID_CCACHE)
    # Paths below the tree are made relative, so that all its clones and work trees share what one has compiled.
    # The sloppiness is what it asks for to work with precompiled headers: no file of ours uses __TIME__ or the like.
    set(launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=true CCACHE_PCH_EXTSUM=true
        CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${BRAID_CCACHE})
    set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
    set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${launcher})
endif()

if(BRAID_CUDA_EMULATION)
    set(BRAID_CUDA ON)
endif()

# A fixed instruction set and no -ffast-math: the same binary gives the same bits on every machine of one CPU kind.
add_library(braid_flags INTERFACE)
target_include_directories(braid_flags INTERFACE ${PROJECT_SOURCE_DIR})
set(warnings -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers)
target_compile_options(braid_flags INTERFACE $<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-march=x86-64-v3 ${warnings} -ffp-contract=off>)
if(NOT BRAID_OPENMP)
    target_compile_options(braid_flags INTERFACE -Wno-unknown-pragmas)
endif()
if(BRAID_WERROR)
    target_compile_options(braid_flags INTERFACE -Werror)
endif()
if(BRAID_SANITIZE)
    target_compile_options(braid_flags INTERFACE -fsanitize=${BRAID_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(braid_flags INTERFACE -fsanitize=${BRAID_SANITIZE})
    # Sanitizers describe every global and every check by tables of addresses, two million in the program: where the place
    # of a program is fixed, they need not be written anew at the start of each of a thousand tests.
    target_link_options(braid_flags INTERFACE $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-no-pie>)
    if(BRAID_SANITIZE MATCHES address)
        # An object of its own: a source in C would ask the programs for a precompiled header in C.
        add_library(braid_keep_modules_loaded OBJECT tests/support/keep_modules_loaded.c)
        target_sources(braid_flags INTERFACE
            $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:$<TARGET_OBJECTS:braid_keep_modules_loaded>>)
    endif()
endif()
target_compile_definitions(braid_flags INTERFACE BRAID_MPI=$<BOOL:${BRAID_MPI}> BRAID_OPENMP=$<BOOL:${BRAID_OPENMP}>
                                                 BRAID_ONEDNN=$<BOOL:${BRAID_ONEDNN}>)
foreach(switch BRAID_CUDA BRAID_CUDA_EMULATION)
    set(${switch}_01 0)
    if(${switch})
        set(${switch}_01 1)
    endif()
endforeach()
configure_file(cmake/build_switches.h.in ${PROJECT_BINARY_DIR}/generated/switches/build_switches.h @ONLY)
target_include_directories(braid_flags INTERFACE ${PROJECT_BINARY_DIR}/generated/switches)
