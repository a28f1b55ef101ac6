#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace layalign::configs {

/// The known word that is nearest to `word` by edit distance (letter case aside), where it is near enough to be meant.
std::optional<std::string_view> nearest(std::string_view word, std::span<const std::string_view> known);

/// "; did you mean 'X'?", or nothing where no known word is near.
std::string suggestion(std::string_view word, std::span<const std::string_view> known);

/// "a, b, c".
std::string joined(std::span<const std::string_view> words);

}  // namespace layalign::configs
