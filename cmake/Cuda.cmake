# The CUDA backend: real, for the toolkit's compiler, or emulated on the CPU (tests/cuda_emulation).
if(NOT BRAID_CUDA)
    return()
endif()

if(BRAID_CUDA_EMULATION)
    # Kernels are then plain C++; the folder's headers stand in for the toolkit's.
    set(emulation ${PROJECT_SOURCE_DIR}/tests/cuda_emulation)
    file(GLOB emulation_sources CONFIGURE_DEPENDS ${emulation}/*.cpp)
    add_library(braid_cuda_runtime STATIC ${emulation_sources})
    target_include_directories(braid_cuda_runtime SYSTEM PUBLIC ${emulation})
    target_link_libraries(braid_cuda_runtime PRIVATE braid_flags PUBLIC Threads::Threads braid::blas)
    # Kernels are compiled to end at a vector of 16 bytes at an address that a GPU would refuse.
    set(BRAID_EMULATED_KERNEL_OPTIONS -fsanitize=alignment -fno-sanitize-recover=alignment)
    target_link_options(braid_cuda_runtime PUBLIC -fsanitize=alignment)
else()
    set(CMAKE_CUDA_ARCHITECTURES 90a CACHE STRING "GPU architectures; the preset cuda-release has 80, 90a and 100")
    # What launch/install_deps.sh --cuda has installed where there is no other.
    if(DEFINED ENV{BRAID_CUDA_HOME})
        set(wheels $ENV{BRAID_CUDA_HOME}/cuda-13.0/nvidia)
    else()
        set(wheels $ENV{HOME}/.cache/braid/cuda-13.0/nvidia)
    endif()
    find_program(BRAID_NVCC nvcc PATHS /usr/local/cuda/bin ${wheels}/cu13/bin)
    if(NOT BRAID_NVCC)
        message(FATAL_ERROR "BRAID_CUDA: expected the CUDA compiler nvcc on the PATH or in /usr/local/cuda/bin, found none;\n\
launch/install_deps.sh --cuda installs one")
    endif()
    set(CMAKE_CUDA_COMPILER ${BRAID_NVCC})
    enable_language(CUDA)
    # CMake 3.25 does not know that newer compilers have it.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    find_package(CUDAToolkit 12.4 REQUIRED)
    add_library(braid_cuda_runtime INTERFACE)
    find_path(BRAID_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ${wheels}/nccl/include REQUIRED)
    find_library(BRAID_NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_DIR}/../lib
                 ${wheels}/nccl/lib REQUIRED)
    target_include_directories(braid_cuda_runtime SYSTEM INTERFACE ${BRAID_NCCL_INCLUDE})
    target_link_libraries(braid_cuda_runtime INTERFACE CUDA::cudart CUDA::cublas CUDA::cublasLt ${BRAID_NCCL_LIBRARY})
endif()

# braid_use_cuda(target sources...)
function(braid_use_cuda target)
    target_link_libraries(${target} PRIVATE braid_cuda_runtime)
    foreach(source ${ARGN})
        if(BRAID_CUDA_EMULATION AND source MATCHES "\\.cu$")
            set_source_files_properties(${source} PROPERTIES LANGUAGE CXX
                COMPILE_OPTIONS "-xc++;-Wno-unknown-pragmas;${BRAID_EMULATED_KERNEL_OPTIONS}")
        endif()
    endforeach()
    if(NOT BRAID_CUDA_EMULATION)
        # nvcc cannot run fmt's checks of format strings; the host's compiler does for all other files.
        target_compile_definitions(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:FMT_CONSTEVAL=;FMT_USE_CONSTEXPR=1>")
        target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr --extended-lambda -fmad=true
                               -Xcompiler=-Wall,-Wextra,-Wno-unused-parameter,-Wno-missing-field-initializers>)
    endif()
endfunction()
