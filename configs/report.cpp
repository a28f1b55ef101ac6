#include "configs/report.h"

#include <algorithm>
#include <tuple>

namespace layalign::configs {

void Report::add(const std::string& key, const std::string& problem) {
  faulty_.insert(key);
  std::string written = key;
  while (!places_.contains(written) && !written.empty()) {
    const size_t dot = written.rfind('.');
    written.resize(dot == std::string::npos ? 0 : dot);
  }
  const auto found = places_.find(written);
  add_at(found == places_.end() ? Place{} : found->second, problem);
}

void Report::add_at(const Place& place, const std::string& problem) {
  problems_.push_back({place, place.text().append(": ").append(problem)});
}

void Report::add(const ConfigError& error) { problems_.emplace_back().line = error.what(); }

void Report::throw_problems() const {
  if (problems_.empty()) return;
  std::vector<Problem> problems = problems_;
  std::ranges::stable_sort(problems, {}, [](const Problem& problem) {
    const Place& place = problem.place;
    return std::tuple(place.line == 0, place.line, place.column);
  });
  std::string text;
  for (const Problem& problem : problems) {
    text.append(text.empty() ? "" : "\n").append(problem.line);
  }
  throw ConfigError(text);
}

}  // namespace layalign::configs
