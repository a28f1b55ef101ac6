#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "configs/error.h"
#include "configs/place.h"

namespace layalign::configs {

/// Where each key of a config was read, and everything that is wrong with it.
class Report {
 public:
  /// Remembers the place of a key, such as "stages.0.lr"; "" is the whole file.
  void set_place(const std::string& key, Place place) { places_[key] = std::move(place); }

  /// A problem of a key, at its place or, where the key is not written, at the place of its section.
  void add(const std::string& key, const std::string& problem);
  /// A problem at a place of its own.
  void add_at(const Place& place, const std::string& problem);
  /// Problems that carry their places already; they come last.
  void add(const ConfigError& error);

  /// Whether a problem of this key was added: its value is then not the user's.
  bool is_faulty(const std::string& key) const { return faulty_.contains(key); }

  /// Errors: ConfigError with all problems in the order of the file, those of overrides last; none: does nothing.
  void throw_problems() const;

 private:
  struct Problem {
    Place place{};       ///< for the order only
    std::string line{};  ///< as it is printed
  };

  std::map<std::string, Place> places_;
  std::set<std::string> faulty_;
  std::vector<Problem> problems_;
};

}  // namespace layalign::configs
