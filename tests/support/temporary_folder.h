#pragma once

#include <string>

namespace braid::test {

/// A fresh folder for the files of one test, removed with everything in it at the end.
class TemporaryFolder {
  public:
    TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder();

    const std::string& path() const { return path_; }
    /// The path of `name` inside the folder.
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

/// Writes or reads a whole file; a failure fails the test with an exception.
void write_file(const std::string& path, const std::string& content);
std::string read_file(const std::string& path);

struct ProcessResult {
    int exit_code;      // 128 + n if signal n ended it
    std::string output; // stdout and stderr together
};

/// Runs a shell command line to its end.
ProcessResult run_command(const std::string& command_line);
/// Runs a script in the system's Python, which has h5py, numpy and yaml; arguments are in sys.argv[1:].
ProcessResult run_python(const std::string& script, const std::string& argument = "");

} // namespace braid::test
