#include "trainer/evaluation_outputs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoints_tools/file_lock.h"
#include "checkpoints_tools/file_operations.h"
#include "checkpoints_tools/hash.h"
#include "configs/error.h"
#include "configs/strict_json.h"
#include "trainer/durable_file.h"
#include "trainer/log.h"

namespace layalign::trainer {
namespace {

constexpr const char* kFormat = "layalign outputs 2";  // the value of "format" in the first line

/// "encoder: 1f2e there, 3d4c here", a line each.
std::string differences(const nlohmann::json& there, const nlohmann::json& here) {
  std::set<std::string> keys;
  for (const auto* side : {&there, &here}) {
    for (const auto& [key, value] : side->items()) keys.insert(key);
  }
  const auto value_of = [](const nlohmann::json& side, const std::string& key) {
    return side.contains(key) ? side[key].dump() : std::string("nothing");
  };
  std::string text;
  for (const auto& key : keys) {
    const std::string before = value_of(there, key), now = value_of(here, key);
    if (before != now) text += "\n  " + key + ": " + before + " there, " + now + " here";
  }
  return text;
}

}  // namespace

OutputKey key_of(data::EvaluationTask task, std::string_view mode, const data::EvaluationItem& item) {
  checkpoints_tools::Xxh3 asked;
  asked.update(item.source + '\0' + item.prompt);
  return {std::string(data::name_of(task)), std::string(mode), item.language, item.index, asked.hex()};
}

EvaluationOutputs::EvaluationOutputs(std::filesystem::path path, const nlohmann::json& identity)
    : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw IoError(path_.string() + ": cannot open: " + std::strerror(errno));
  try {
    lock();
    read(identity);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

EvaluationOutputs::~EvaluationOutputs() { ::close(descriptor_); }

void EvaluationOutputs::lock() const {
  const auto lock = checkpoints_tools::lock_file(descriptor_, path_);
  if (lock == checkpoints_tools::FileLock::kMissing) log_warn(checkpoints_tools::missing_lock_note(path_));
  if (lock != checkpoints_tools::FileLock::kTaken) return;
  throw configs::ConfigError(path_.string() +
                             " is being written by another evaluation; wait for its end, or choose another folder");
}

std::string EvaluationOutputs::drop_torn_lines() {
  const std::string text = as_io_error([&] { return configs::read_text_file(path_); });
  std::string whole;
  size_t untouched = text.size();  // bytes before the first torn line
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const std::string line = text.substr(begin, newline == text.npos ? text.npos : newline + 1 - begin);
    const bool is_torn = newline == text.npos || line.find('\0') != line.npos;
    // The first line is durable before there is another one: such a file is a foreign one.
    if (is_torn && begin == 0 && line.size() < text.size()) return text;
    begin += line.size();
    if (is_torn) untouched = std::min(untouched, whole.size());
    if (!is_torn) whole += line;
  }
  if (untouched == text.size()) return whole;
  if (::ftruncate(descriptor_, static_cast<off_t>(untouched)) != 0) {
    throw IoError(path_.string() + ": cannot drop its torn lines: " + std::strerror(errno));
  }
  write_all(descriptor_, std::string_view(whole).substr(untouched), path_);
  return whole;
}

void EvaluationOutputs::read(const nlohmann::json& identity) {
  const std::string text = drop_torn_lines();
  if (text.empty()) {
    write_all(descriptor_, nlohmann::json{{"format", kFormat}, {"identity", identity}}.dump() + '\n', path_);
    sync();
    return checkpoints_tools::flush_folder_of(path_);
  }
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin), where = path_.string() + ":" + std::to_string(++number);
    begin = end + 1;
    nlohmann::json first;
    if (number > 1) {
      take_line(line, where);
      continue;
    }
    try {
      first = configs::parse_json(line, where);
    } catch (const configs::JsonError&) {
    }
    if (!first.is_object() || first.value("format", nlohmann::json()) != kFormat || !first.contains("identity") ||
        !first["identity"].is_object()) {
      throw IoError(where + ": not a file of outputs of this version; move it away, or choose another folder");
    }
    if (const std::string refused = differences(first["identity"], identity); !refused.empty()) {
      throw configs::ConfigError(
          path_.string() +
          " holds outputs of another evaluation; choose another folder, or remove the file:" + refused);
    }
  }
}

void EvaluationOutputs::take_line(const std::string& line, const std::string& where) {
  try {
    const nlohmann::json object = configs::parse_json(line, where);
    OutputKey key{object.at("task"), object.at("mode"), object.at("language"), object.at("index"), object.at("asked")};
    outputs_[std::move(key)] = {object.at("text"), object.at("tokens"), object.at("generation_s")};
  } catch (const std::exception& error) {
    throw IoError(where + ": not an output (" + error.what() +
                  "); remove the line, and its question is answered again");
  }
}

const GeneratedOutput* EvaluationOutputs::find(const OutputKey& key) const {
  const auto found = outputs_.find(key);
  return found == outputs_.end() ? nullptr : &found->second;
}

void EvaluationOutputs::append(const OutputKey& key, const GeneratedOutput& output) {
  const nlohmann::ordered_json line{
      {"task", key.task},   {"mode", key.mode},    {"language", key.language}, {"index", key.index},
      {"asked", key.asked}, {"text", output.text}, {"tokens", output.tokens},  {"generation_s", output.generation_s}};
  write_all(descriptor_, line.dump() + '\n', path_);
  outputs_[key] = output;
}

void EvaluationOutputs::sync() {
  if (::fsync(descriptor_) != 0) throw IoError(path_.string() + ": cannot write to the disk: " + std::strerror(errno));
}

}  // namespace layalign::trainer
