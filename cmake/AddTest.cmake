# The threads of one test process. ctest runs several processes side by side, so idle threads must not spin.
# A shell complains on stderr about a locale that the machine lacks, and Python reads and writes files by it.
set(BRAID_TEST_ENVIRONMENT OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive LC_ALL=C.UTF-8)
set(BRAID_SCRIPT_ENVIRONMENT OMP_WAIT_POLICY=passive LC_ALL=C.UTF-8
    PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 PYTHONOPTIMIZE= PYTHONPATH=${PROJECT_SOURCE_DIR}/tests/support
    BRAID=${PROJECT_BINARY_DIR}/braid BRAID_SOURCE_DIR=${PROJECT_SOURCE_DIR} BRAID_BINARY_DIR=${PROJECT_BINARY_DIR}
    BRAID_MPIRUN=${PROJECT_SOURCE_DIR}/launch/braid-mpirun)
# What a test must not inherit: threads tied to cores, which all tests would share; what makes a lone process one of many
# and one machine many hosts, as where ctest itself runs in a job; what the launcher tells its ranks.
set(BRAID_TEST_UNSET "")
foreach(name OMP_PROC_BIND OMP_PLACES OMP_THREAD_LIMIT OMP_DYNAMIC GOMP_CPU_AFFINITY
        SLURM_JOB_ID SLURM_JOBID OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_LOCAL_SIZE PMIX_RANK PMI_SIZE PMI_RANK
        SLURM_STEP_NUM_TASKS BRAID_TERMINAL BRAID_RANKS_BOUND BRAID_SHARE_GPU BRAID_EXPECTED_RANKS BRAID_REPORT_START
        BRAID_START_SECONDS)
    list(APPEND BRAID_TEST_UNSET ${name}=unset:)
endforeach()
set(BRAID_SCRIPT_UNSET ${BRAID_TEST_UNSET} OMP_NUM_THREADS=unset:)
set(sanitizer_environment "")
if(BRAID_SANITIZE MATCHES address)
    list(APPEND sanitizer_environment "LSAN_OPTIONS=suppressions='${PROJECT_SOURCE_DIR}/tests/support/lsan.supp':print_suppressions=0"
         UBSAN_OPTIONS=print_stacktrace=1)
elseif(BRAID_SANITIZE MATCHES thread)
    list(APPEND sanitizer_environment
         "TSAN_OPTIONS=suppressions='${PROJECT_SOURCE_DIR}/tests/support/tsan.supp':print_suppressions=0:halt_on_error=1")
endif()
list(APPEND BRAID_TEST_ENVIRONMENT ${sanitizer_environment})
list(APPEND BRAID_SCRIPT_ENVIRONMENT ${sanitizer_environment})
# Sanitized code is slower, and a slower machine must not fail a test either.
set(BRAID_TEST_TIMEOUT_SCALE 1)
if(BRAID_SANITIZE)
    set(BRAID_TEST_TIMEOUT_SCALE 3)
endif()

# braid_test(folder SOURCES ... LINKS ... LABEL unit): one gtest program per source folder. A case "TEST(subject, case)"
# becomes the ctest entry folder.subject.case with this label; a case whose name starts with slow_ gets the label slow.
# Sanitized programs take a tenth of a second to start, as long as most cases: there the entry is folder.subject, which
# runs all cases of the subject but the slow ones in one process.
function(braid_test folder)
    cmake_parse_arguments(ARG "" "LABEL" "SOURCES;LINKS" ${ARGN})
    if(NOT ARG_LABEL)
        set(ARG_LABEL unit)
    endif()
    # Only for those that ask, as clones with other paths share what they compile of the others.
    foreach(source ${ARG_SOURCES})
        file(STRINGS ${source} asking REGEX BRAID_SOURCE_DIR LIMIT_COUNT 1)
        if(asking)
            set_property(SOURCE ${source} APPEND PROPERTY COMPILE_DEFINITIONS BRAID_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
        endif()
    endforeach()
    braid_unite(compiled ${ARG_SOURCES})
    add_executable(test_${folder} ${compiled})
    braid_reuse_precompiled(test_${folder} braid_test_precompiled)
    target_link_libraries(test_${folder} PRIVATE ${ARG_LINKS} braid_test_support GTest::gtest_main)
    if(BRAID_SANITIZE)
        braid_test_subjects(${folder} ${ARG_LABEL} ${ARG_SOURCES})
        return()
    endif()
    foreach(label ${ARG_LABEL} slow)
        if(label STREQUAL slow)
            set(filter "*.slow_*:*/slow_*")
            set(limit 1800)
        else()
            set(filter "-*.slow_*:*/slow_*")
            set(limit 300)
        endif()
        math(EXPR limit "${limit} * ${BRAID_TEST_TIMEOUT_SCALE}")
        gtest_discover_tests(test_${folder} TEST_PREFIX ${folder}. TEST_FILTER ${filter} TEST_LIST test_${folder}_${label}
            DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
            PROPERTIES LABELS ${label} TIMEOUT ${limit})
        # gtest_discover_tests takes lists apart, so a property that is one is set where ctest reads the tests.
        set(late_properties ${CMAKE_CURRENT_BINARY_DIR}/test_${folder}_${label}_environment.cmake)
        file(CONFIGURE OUTPUT ${late_properties} @ONLY CONTENT [[
if(test_@folder@_@label@)
    set_tests_properties(${test_@folder@_@label@} PROPERTIES ENVIRONMENT "@BRAID_TEST_ENVIRONMENT@"
                         ENVIRONMENT_MODIFICATION "@BRAID_TEST_UNSET@")
endif()
]])
        set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${late_properties})
    endforeach()
endfunction()

# braid_test_subjects(folder label sources...): the ctest entries folder.subject of a program, and folder.others, for what
# this function should have overlooked.
function(braid_test_subjects folder label)
    set(subjects "")
    foreach(source ${ARGN})
        file(STRINGS ${source} cases REGEX "^(TYPED_)?TEST(_[FP])?\\([a-z0-9_]+, ")
        list(TRANSFORM cases REPLACE "^[A-Z_]*\\(([a-z0-9_]+),.*" "\\1")
        list(APPEND subjects ${cases})
    endforeach()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ARGN})
    list(REMOVE_DUPLICATES subjects)
    math(EXPR limit "900 * ${BRAID_TEST_TIMEOUT_SCALE}")
    # The trainer's take longest, and begin first of them.
    set(cost 1)
    if("${folder}" STREQUAL "trainer")
        set(cost 50)
    endif()
    set(named "*.slow_*:*/slow_*")
    foreach(subject ${subjects} others)
        set(filter "${subject}.*:*/${subject}.*:${subject}/?.*:*/${subject}/?.*") # the last two: by types
        if("${subject}" STREQUAL "others")
            set(filter "-${named}")
        else()
            string(APPEND named ":${filter}")
            string(APPEND filter "-*.slow_*:*/slow_*")
        endif()
        set(name ${folder}.${subject})
        add_test(NAME ${name} COMMAND test_${folder} --gtest_filter=${filter})
        set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${limit} COST ${cost}
                             ENVIRONMENT "${BRAID_TEST_ENVIRONMENT}" ENVIRONMENT_MODIFICATION "${BRAID_TEST_UNSET}")
    endforeach()
endfunction()

# braid_gpu_tests(folder [filter]): the same cases, or those of gtest's filter, once more on a GPU, as
# folder.subject.case.cuda with the label gpu. Where there is no GPU they are skipped, and ctest says so.
function(braid_gpu_tests folder)
    if(NOT BRAID_CUDA)
        return()
    endif()
    set(filter "-*.slow_*:*/slow_*")
    if(ARGN)
        set(filter ${ARGN})
    endif()
    math(EXPR limit "300 * ${BRAID_TEST_TIMEOUT_SCALE}")
    gtest_discover_tests(test_${folder} TEST_PREFIX ${folder}. TEST_SUFFIX .cuda TEST_FILTER ${filter}
        TEST_LIST test_${folder}_gpu DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 PROPERTIES LABELS gpu TIMEOUT ${limit})
    set(late_properties ${CMAKE_CURRENT_BINARY_DIR}/test_${folder}_gpu_environment.cmake)
    file(CONFIGURE OUTPUT ${late_properties} @ONLY CONTENT [[
if(test_@folder@_gpu)
    set_tests_properties(${test_@folder@_gpu} PROPERTIES ENVIRONMENT "@BRAID_TEST_ENVIRONMENT@;BRAID_TEST_DEVICE=cuda"
                         ENVIRONMENT_MODIFICATION "@BRAID_TEST_UNSET@")
endif()
]])
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${late_properties})
endfunction()

# braid_mpi_test(program RANKS 1 2 4 SOURCES ... LINKS ... TIMEOUT seconds): a gtest program whose cases all ranks run
# in step. Each source X_test.cpp must hold the test suite X; it becomes the ctest entries program.X.N_ranks.
function(braid_mpi_test program)
    cmake_parse_arguments(ARG "" "TIMEOUT" "RANKS;SOURCES;LINKS" ${ARGN})
    if(NOT BRAID_MPI)
        return()
    endif()
    braid_unite(compiled ${ARG_SOURCES})
    add_executable(test_${program} ${compiled} ${PROJECT_SOURCE_DIR}/tests/support/mpi_main.cpp)
    braid_reuse_precompiled(test_${program} braid_test_precompiled)
    target_link_libraries(test_${program} PRIVATE ${ARG_LINKS} braid_test_support braid::mpi)
    math(EXPR limit "${ARG_TIMEOUT} * ${BRAID_TEST_TIMEOUT_SCALE}")
    foreach(source ${ARG_SOURCES})
        cmake_path(GET source STEM suite)
        string(REGEX REPLACE "_test$" "" suite ${suite})
        foreach(ranks ${ARG_RANKS})
            set(name ${program}.${suite}.${ranks}_ranks)
            add_test(NAME ${name} COMMAND ${PROJECT_SOURCE_DIR}/launch/braid-mpirun -n ${ranks}
                     $<TARGET_FILE:test_${program}> --gtest_filter=${suite}.*)
            set_tests_properties(${name} PROPERTIES LABELS mpi TIMEOUT ${limit} PROCESSORS ${ranks}
                                 ENVIRONMENT "${BRAID_SCRIPT_ENVIRONMENT}"
                                 ENVIRONMENT_MODIFICATION "${BRAID_SCRIPT_UNSET}")
        endforeach()
    endforeach()
endfunction()

# braid_mpi_gpu_test(program suite RANKS 1 2 4 TIMEOUT seconds): a suite of an MPI program once more with each rank on a
# GPU, as program.suite.N_ranks.cuda with the label gpu. Skipped, and counted as skipped, where there is none.
function(braid_mpi_gpu_test program suite)
    cmake_parse_arguments(ARG "" "TIMEOUT" "RANKS" ${ARGN})
    if(NOT BRAID_MPI OR NOT BRAID_CUDA)
        return()
    endif()
    math(EXPR limit "${ARG_TIMEOUT} * ${BRAID_TEST_TIMEOUT_SCALE}")
    foreach(ranks ${ARG_RANKS})
        set(name ${program}.${suite}.${ranks}_ranks.cuda)
        add_test(NAME ${name} COMMAND ${PROJECT_SOURCE_DIR}/launch/braid-mpirun -n ${ranks}
                 $<TARGET_FILE:test_${program}> --gtest_filter=${suite}.*)
        set_tests_properties(${name} PROPERTIES LABELS gpu TIMEOUT ${limit} PROCESSORS ${ranks}
                             SKIP_REGULAR_EXPRESSION "SKIPPED . BRAID_TEST_DEVICE"
                             ENVIRONMENT "${BRAID_SCRIPT_ENVIRONMENT};BRAID_TEST_DEVICE=cuda"
                             ENVIRONMENT_MODIFICATION "${BRAID_SCRIPT_UNSET}")
    endforeach()
endfunction()

# braid_script_test(prefix script): a Python test program (exit code 0 passes) as the ctest entry prefix.NAME. It says
# what it needs in a comment line: "# ctest: labels=mpi timeout=120 processors=2". It finds the built program in
# $BRAID, the launcher in $BRAID_MPIRUN, the tree in $BRAID_SOURCE_DIR, and tests/support on its import path. With exit
# code 77 it says that it was skipped. Processors are those that it keeps busy: ranks that mostly wait count as one. Such
# programs take longest, so they begin before the unit tests.
function(braid_script_test prefix script)
    cmake_path(GET script STEM stem)
    string(REGEX REPLACE "_test$" "" stem ${stem})
    file(STRINGS ${script} declaration REGEX "^# ctest: labels=[a-z,]+ timeout=[0-9]+ processors=[0-9]+$")
    if(NOT declaration)
        message(FATAL_ERROR "${script}: expected a line '# ctest: labels=unit timeout=60 processors=1'")
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${script})
    string(REGEX REPLACE ".*labels=([a-z,]+) timeout=([0-9]+) processors=([0-9]+).*" "\\1;\\2;\\3" fields "${declaration}")
    list(GET fields 0 labels)
    list(GET fields 1 limit)
    list(GET fields 2 processors)
    string(REPLACE "," ";" labels "${labels}")
    if(((labels MATCHES "mpi|bundle") AND NOT BRAID_MPI) OR ("gpu" IN_LIST labels AND NOT BRAID_CUDA))
        return()
    endif()
    math(EXPR limit "${limit} * ${BRAID_TEST_TIMEOUT_SCALE}")
    add_test(NAME ${prefix}.${stem} COMMAND ${Python3_EXECUTABLE} ${script})
    set_tests_properties(${prefix}.${stem} PROPERTIES LABELS "${labels}" TIMEOUT ${limit} PROCESSORS ${processors} COST 100
                         SKIP_RETURN_CODE 77 ENVIRONMENT "${BRAID_SCRIPT_ENVIRONMENT}"
                         ENVIRONMENT_MODIFICATION "${BRAID_SCRIPT_UNSET}")
endfunction()
