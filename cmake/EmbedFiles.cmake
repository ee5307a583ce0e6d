# braid_embed(folder room FILES files...): the files become part of the library of a folder, where page_file(NAME) of
# folder/room/page_files.h finds each under its name. A changed file makes the source anew, nothing else.
function(braid_embed folder room)
    cmake_parse_arguments(ARG "" "" "FILES" ${ARGN})
    set(output ${PROJECT_BINARY_DIR}/generated/${folder}/${room}/page_files.cpp)
    list(JOIN ARG_FILES "|" files)
    add_custom_command(OUTPUT ${output}
        COMMAND ${CMAKE_COMMAND} -D "FILES=${files}" -D HEADER=${folder}/${room}/page_files.h -D OUTPUT=${output}
                -P ${PROJECT_SOURCE_DIR}/cmake/embed_files.cmake
        DEPENDS ${ARG_FILES} ${PROJECT_SOURCE_DIR}/cmake/embed_files.cmake COMMENT "" VERBATIM)
    target_sources(braid_${folder} PRIVATE ${output})
endfunction()

# Chart.js of Debian's package, or what BRAID_CHART_JS names.
set(BRAID_CHART_JS /usr/share/javascript/chart.js/chart.min.js CACHE FILEPATH "Chart.js 3 for the pages of braid report")
if(NOT EXISTS ${BRAID_CHART_JS})
    message(FATAL_ERROR "${BRAID_CHART_JS}: expected Chart.js, found nothing; launch/install_deps.sh installs libjs-chart.js")
endif()
