# The threads of one test process; ctest runs several processes side by side, so idle threads must not spin.
set(BRAID_TEST_ENVIRONMENT OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive)

# braid_test(folder SOURCES ... LINKS ...): one gtest program per source folder. A case "TEST(subject, case)"
# becomes the ctest entry folder.subject.case; a case whose name starts with slow_ gets the label slow.
function(braid_test folder)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
    add_executable(test_${folder} ${ARG_SOURCES})
    target_link_libraries(test_${folder} PRIVATE ${ARG_LINKS} braid_test_support GTest::gtest_main)
    foreach(label unit slow)
        if(label STREQUAL slow)
            set(filter "*.slow_*:*/slow_*")
            set(limit 1800)
        else()
            set(filter "-*.slow_*:*/slow_*")
            set(limit 300)
        endif()
        gtest_discover_tests(test_${folder} TEST_PREFIX ${folder}. TEST_FILTER ${filter} TEST_LIST test_${folder}_${label}
            DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
            PROPERTIES LABELS ${label} TIMEOUT ${limit} ENVIRONMENT "${BRAID_TEST_ENVIRONMENT}")
    endforeach()
endfunction()
