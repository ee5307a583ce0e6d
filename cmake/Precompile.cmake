# Headers that most files include, compiled once. A file still names all that it uses: structure.own_includes (slow)
# compiles each without this.
#
# A precompiled header serves targets with the same flags only, so there is one for the libraries and one for the
# test programs, each built by a small target of its own.
option(BRAID_PRECOMPILE "Precompile the headers that most files include" ON)

# braid_precompile(target header): the target compiles the header for those that reuse it.
#
# No two compilations of one header give the same bytes, and ccache takes another one for a change of all that use it. So
# the text that it was made of is hashed beside it, which ccache takes instead (CCACHE_PCH_EXTSUM in Options.cmake).
function(braid_precompile target header)
    target_link_libraries(${target} PRIVATE fmt::fmt braid_flags)
    if(BRAID_OPENMP)
        target_link_libraries(${target} PRIVATE OpenMP::OpenMP_CXX)
    endif()
    if(BRAID_PRECOMPILE)
        # In quotes CMake leaves the name as it is; a path of its own would keep clones from sharing what they compiled.
        target_precompile_headers(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:\"${header}\">")
        set(compiled ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${target}.dir/cmake_pch.hxx.gch)
        add_custom_command(OUTPUT ${compiled}.sum
            COMMAND ${CMAKE_COMMAND} -D COMPILER=${CMAKE_CXX_COMPILER} -D SOURCE_DIR=${PROJECT_SOURCE_DIR} -D HEADER=${header}
                    -D OUTPUT=${compiled}.sum -P ${PROJECT_SOURCE_DIR}/cmake/hash_header.cmake
            DEPENDS $<TARGET_OBJECTS:${target}> ${PROJECT_SOURCE_DIR}/cmake/hash_header.cmake
            COMMENT "" VERBATIM)
        add_custom_target(${target}_sum DEPENDS ${compiled}.sum)
    endif()
endfunction()

# braid_reuse_precompiled(target owner)
function(braid_reuse_precompiled target owner)
    if(BRAID_PRECOMPILE)
        target_precompile_headers(${target} REUSE_FROM ${owner})
        add_dependencies(${target} ${owner}_sum)
    endif()
endfunction()

file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/precompiled/library.cpp CONTENT "// nothing but the header\n")
add_library(braid_precompiled OBJECT ${PROJECT_BINARY_DIR}/generated/precompiled/library.cpp)
braid_precompile(braid_precompiled base/precompiled.h)
