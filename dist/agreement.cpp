#include "dist/agreement.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <sstream>

#include "dist/error.h"

namespace layalign::dist {
namespace {

constexpr size_t kShortValue = 80;  // bytes; longer values, or values of several lines, are shown by digest

void append(std::string& out, const std::string& text) {
  const uint64_t length = text.size();
  out.append(reinterpret_cast<const char*>(&length), sizeof(length)).append(text);
}

std::string pack(const std::vector<Topic>& topics) {
  std::string out;
  for (const auto& [name, value] : topics) {
    append(out, name);
    append(out, value);
  }
  return out;
}

std::string take(const std::string& packed, size_t& at) {
  uint64_t length = 0;
  std::memcpy(&length, packed.data() + at, sizeof(length));
  at += sizeof(length) + length;
  return packed.substr(at - length, length);
}

std::vector<Topic> unpack(const std::string& packed) {
  std::vector<Topic> topics;
  for (size_t at = 0; at < packed.size();) {
    std::string name = take(packed, at);
    topics.emplace_back(std::move(name), take(packed, at));
  }
  return topics;
}

// FNV-1a: names a text in a message; nothing is decided by it.
std::string digest(const std::string& text) {
  uint64_t hash = 14695981039346656037ULL;
  for (const unsigned char byte : text) hash = (hash ^ byte) * 1099511628211ULL;
  char hex[17];
  std::snprintf(hex, sizeof(hex), "%016llx", static_cast<unsigned long long>(hash));
  return hex;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

bool is_short(const std::string& value) { return value.size() <= kShortValue && value.find('\n') == std::string::npos; }

// "line 3: `lr: 1.0e-5`" of `mine`, at the first line where it differs from `other`.
std::string first_difference(const std::string& mine, const std::string& other) {
  const auto a = lines_of(mine), b = lines_of(other);
  size_t line = 0;
  while (line < a.size() && line < b.size() && a[line] == b[line]) ++line;
  return "line " + std::to_string(line + 1) + ": " + (line < a.size() ? "\"" + a[line] + "\"" : "(no such line)");
}

std::string show(const std::string& value, const std::string& other) {
  if (is_short(value) && is_short(other)) return "\"" + value + "\"";
  return "digest " + digest(value) + ", " + first_difference(value, other);
}

std::string ranks_text(const std::vector<size_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) text += (i ? ", " : "") + std::to_string(ranks[i]);
  return text;
}

}  // namespace

std::string describe_disagreement(const std::vector<std::vector<Topic>>& by_rank) {
  std::vector<std::string> names;
  std::vector<std::map<std::string, std::string>> values(by_rank.size());
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    for (const auto& [name, value] : by_rank[rank]) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      values[rank][name] = value;
    }
  }
  std::string text;
  for (const std::string& name : names) {
    std::map<std::string, std::vector<size_t>> ranks_by_value;  // a missing topic is a value of its own
    std::vector<std::string> order;
    for (size_t rank = 0; rank < values.size(); ++rank) {
      const auto found = values[rank].find(name);
      const std::string key = found == values[rank].end() ? "-" : "+" + found->second;
      if (!ranks_by_value.count(key)) order.push_back(key);
      ranks_by_value[key].push_back(rank);
    }
    if (order.size() == 1) continue;
    text += "\n  " + name + ":";
    for (size_t i = 0; i < order.size(); ++i) {
      const std::string other = order[i == 0 ? 1 : 0].substr(1);
      text += "\n    " + ranks_text(ranks_by_value[order[i]]) + ": " +
              (order[i][0] == '-' ? "(not given)" : show(order[i].substr(1), other));
    }
  }
  if (text.empty()) return text;
  return "the ranks disagree; start all of them with the same program, config and files:" + text;
}

void require_agreement(const Process& process, const std::vector<Topic>& topics) {
  std::vector<std::vector<Topic>> by_rank;
  for (const std::string& packed : process.all_gather(pack(topics))) by_rank.push_back(unpack(packed));
  const std::string text = describe_disagreement(by_rank);
  if (!text.empty()) throw CommError(text);
}

}  // namespace layalign::dist
