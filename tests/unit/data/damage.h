#pragma once

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace layalign::data {

/// `whole` with one to four bytes changed.
inline std::string damaged_bytes(std::string whole, std::mt19937& random) {
  for (auto changes = 1 + random() % 4; changes > 0; --changes)
    whole[random() % whole.size()] = static_cast<char>(random());
  return whole;
}

/// A tokenizer.json in which one value, mostly not of the vocabulary, is another value of it; sometimes bytes change
/// too.
inline std::string damaged_json(const nlohmann::json& whole, std::mt19937& random) {
  const nlohmann::json flat = whole.flatten();
  std::vector<std::string> rules, all;
  for (const auto& [key, value] : flat.items()) {
    all.push_back(key);
    if (!key.starts_with("/model/vocab") && !key.starts_with("/model/merges")) rules.push_back(key);
  }
  const std::vector<std::string>& places = random() % 4 == 0 ? all : rules;
  nlohmann::json damaged = whole;
  damaged[nlohmann::json::json_pointer(places[random() % places.size()])] = flat[all[random() % all.size()]];
  const std::string bytes = damaged.dump();
  return random() % 3 == 0 ? damaged_bytes(bytes, random) : bytes;
}

}  // namespace layalign::data
