# cmake -D SOURCE_DIR=... -D OUTPUT=... -P write_commit.cmake: writes the commit of a checkout into a header, with
# "-dirty" where tracked files were changed, and "unknown" outside one. An unchanged header is not touched, so a build
# compiles nothing for it.
set(commit unknown)
# An unpacked release may lie inside another project's checkout, whose commit says nothing about us.
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --show-prefix
                RESULT_VARIABLE failed OUTPUT_VARIABLE prefix ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
if("${failed}" STREQUAL "0" AND prefix STREQUAL "")
    execute_process(COMMAND git --no-optional-locks -C ${SOURCE_DIR} describe --always --dirty --abbrev=40 --exclude=*
                    RESULT_VARIABLE failed OUTPUT_VARIABLE described ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    if("${failed}" STREQUAL "0")
        set(commit ${described})
    endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
#pragma once

#define BRAID_BUILD_COMMIT "@commit@"
]])
