# braid_build_info(folder room): generates folder/room/build_info_values.h in the build tree, for build_info.cpp there: version,
# compiler, flags, switches and library versions as configured, and the commit as found by every build.
function(braid_build_info folder room)
    string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
    get_target_property(options braid_flags INTERFACE_COMPILE_OPTIONS)
    list(JOIN options " " options)
    string(STRIP "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${type}} ${options}" BRAID_BUILD_FLAGS)
    string(REGEX REPLACE "([\\\"])" "\\\\\\1" BRAID_BUILD_FLAGS "${BRAID_BUILD_FLAGS}")
    set(generated ${PROJECT_BINARY_DIR}/generated)
    configure_file(${PROJECT_SOURCE_DIR}/cmake/build_info_values.h.in ${generated}/${folder}/${room}/build_info_values.h @ONLY)
    add_custom_target(braid_commit
        COMMAND ${CMAKE_COMMAND} -D SOURCE_DIR=${PROJECT_SOURCE_DIR} -D OUTPUT=${generated}/${folder}/${room}/build_commit.h
                -P ${PROJECT_SOURCE_DIR}/cmake/write_commit.cmake
        BYPRODUCTS ${generated}/${folder}/${room}/build_commit.h
        COMMENT "" VERBATIM)
    add_dependencies(braid_${folder} braid_commit)
    target_include_directories(braid_${folder} PRIVATE ${generated})
endfunction()
