#pragma once

#include <string_view>

namespace layalign::checkpoints_tools {

/// The name that modeling_layalign.py has in an exported folder, without its ending: a Python module.
inline constexpr std::string_view kPythonModule = "modeling_layalign";

/// The text of checkpoints_tools/modeling_layalign.py, which is compiled in: programs need no folder of sources.
std::string_view python_model();

}  // namespace layalign::checkpoints_tools
