#include "configs/known_keys.h"

#include <algorithm>
#include <type_traits>

#include "configs/spelling.h"

namespace layalign::configs {
namespace {

struct KnownKey {
  std::string_view name;
  std::string path;
};

// The keys of this section before those of its subsections, so that the shorter path wins between equal names.
template <Section S>
void collect(const S& section, const std::string& prefix, std::vector<KnownKey>& keys) {
  visit_fields(section, [&](const Field& field, const auto&) {
    keys.push_back({field.name, prefix + std::string(field.name)});
  });
  visit_fields(section, [&](const Field& field, const auto& value) {
    using T = std::remove_cvref_t<decltype(value)>;
    const std::string path = prefix + std::string(field.name);
    if constexpr (std::is_same_v<T, std::vector<StageConfig>>) {
      collect(StageConfig{}, path + "[].", keys);
    } else if constexpr (Section<T>) {
      collect(value, path + ".", keys);
    }
  });
}

}  // namespace

std::optional<std::string> nearest_key_anywhere(std::string_view name) {
  std::vector<KnownKey> keys;
  collect(RunConfig{}, "", keys);
  std::vector<std::string_view> names;
  for (const KnownKey& key : keys) names.push_back(key.name);
  const auto near = nearest(name, names);
  if (!near) return std::nullopt;
  return std::ranges::find(keys, *near, &KnownKey::name)->path;
}

}  // namespace layalign::configs
