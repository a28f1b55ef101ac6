#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "configs/fields.h"

namespace layalign::configs {

/// The names of a section's keys, in order.
template <Section S>
std::vector<std::string_view> field_names(S& section) {
  std::vector<std::string_view> names;
  visit_fields(section, [&names](const Field& field, const auto&) { names.push_back(field.name); });
  return names;
}

/// The key of any section whose last word is nearest to `name`, such as "optimizer.eps" or "stages[].lr"; nothing where
/// none is near.
std::optional<std::string> nearest_key_anywhere(std::string_view name);

}  // namespace layalign::configs
