#include "launch/own_command.h"

#include <fstream>

namespace braid {

std::vector<std::string> own_command() {
    std::vector<std::string> words;
    std::ifstream file("/proc/self/cmdline", std::ios::binary);
    for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
    return words;
}

} // namespace braid
