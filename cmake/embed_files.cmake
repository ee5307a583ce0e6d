# cmake -D "FILES=a|b" -D HEADER=... -D OUTPUT=... -P embed_files.cmake: writes a source that holds the texts.
string(REPLACE "|" ";" FILES "${FILES}")
set(text "#include \"${HEADER}\"\n\n#include \"base/error.h\"\n\nnamespace braid::report {\n\n")
string(APPEND text "std::string_view page_file(std::string_view name) {\n")
foreach(file IN LISTS FILES)
    file(READ ${file} content)
    cmake_path(GET file FILENAME name)
    # Raw strings, as no escape is needed there, and the texts hold no such end.
    string(APPEND text "    if (name == \"${name}\") return R\"embedded(${content})embedded\";\n")
endforeach()
string(APPEND text "    throw InternalError(\"no file {} in the program\", name);\n}\n\n} // namespace braid::report\n")
file(WRITE ${OUTPUT} "${text}")
