#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/yaml_document.h"

namespace braid {

/// Reads a config file as one tree: `extends` (a path relative to the file; maps merge, lists replace, null
/// deletes) is followed, ${VAR} in values becomes the environment's text ($${ stands for a plain ${), and the
/// overrides "key.path=value" are laid on top in order. Throws ConfigError with the place of every fault.
YamlNode load_config_tree(const std::string& path, const std::vector<std::string>& overrides);

/// The same from a text that messages call `source`; `extends` is relative to the working directory.
YamlNode parse_config_tree(std::string_view text, const std::string& source,
                           const std::vector<std::string>& overrides);

/// The same from a text that Braid stored and others may have changed: nothing but what it says. `extends`
/// and
/// ${VAR} are faults, so that no file is opened and nothing of the environment is seen.
YamlNode parse_stored_tree(std::string_view text, const std::string& source);

/// The text that reads back as `text`: every "${" as "$${".
std::string escape_variables(std::string text);

} // namespace braid
