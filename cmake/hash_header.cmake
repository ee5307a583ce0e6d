# cmake -D COMPILER=... -D SOURCE_DIR=... -D HEADER=... -D OUTPUT=... -P hash_header.cmake: writes a hash of all that a
# header includes, macros too, and nothing of where it lies.
execute_process(COMMAND ${COMPILER} -w -std=c++20 -O1 -fopenmp -I${SOURCE_DIR} -E -dD -P -x c++ ${SOURCE_DIR}/${HEADER}
                RESULT_VARIABLE failed OUTPUT_VARIABLE text)
if(NOT failed EQUAL 0)
    message(FATAL_ERROR "${HEADER}: the compiler ended with ${failed}")
endif()
string(SHA256 hash "${text}")
file(WRITE ${OUTPUT} "${hash}\n")
