#include "tests/support/temporary_folder.h"

#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

namespace braid::test {

TemporaryFolder::TemporaryFolder() {
    path_ = (std::filesystem::temp_directory_path() / "braid-test-XXXXXX").string();
    if (!::mkdtemp(path_.data())) throw std::runtime_error("cannot create " + path_);
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, const std::string& content) {
    std::ofstream file(path, std::ios::binary);
    file << content;
    if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    if (!file) throw std::runtime_error("cannot read " + path);
    return content.str();
}

ProcessResult run_command(const std::string& command_line) {
    std::FILE* pipe = ::popen(("( " + command_line + "\n) 2>&1").c_str(), "r");
    if (!pipe) throw std::runtime_error("cannot run " + command_line);
    ProcessResult result;
    char buffer[4096];
    while (const size_t count = std::fread(buffer, 1, sizeof buffer, pipe))
        result.output.append(buffer, count);
    const int status = ::pclose(pipe);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

ProcessResult run_python(const std::string& script, const std::string& argument) {
    const TemporaryFolder folder;
    write_file(folder / "script.py", script);
    // -I: neither the caller's PYTHON... variables nor packages of a user's own take part.
    return run_command("/usr/bin/python3 -I '" + folder / "script.py" + "' '" + argument + "'");
}

} // namespace braid::test
