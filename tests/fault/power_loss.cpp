#include "tests/fault/power_loss.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "checkpoints_tools/hash.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::FileAction;
using checkpoints_tools::FileFault;
using checkpoints_tools::FileOperation;

constexpr const char* kRoot = ".";

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? kRoot : parent;
}

std::string name_of(const std::string& path) { return fs::path(path).filename().string(); }

/// A hash of the content, to know it again.
std::string mark_of(const DiskContent& content, int reports) {
  checkpoints_tools::Xxh3 hash;
  const auto add = [&](const std::string& text) { hash.update(std::to_string(text.size()) + ":" + text); };
  add(std::to_string(reports));
  for (const auto& [path, bytes] : content.files) add(path), add(bytes);
  for (const auto& folder : content.folders) add(folder);
  return hash.hex();
}

std::string describe(const RecordedChange& change) {
  return std::string(checkpoints_tools::name_of(change.action)) + " " + change.path +
         (change.other.empty() ? "" : " from " + change.other);
}

}  // namespace

DiskContent read_disk(const fs::path& root) {
  DiskContent content;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string path = entry.path().lexically_relative(root).string();
    if (entry.is_directory()) {
      content.folders.insert(path);
    } else {
      std::ifstream file(entry.path(), std::ios::binary);
      content.files[path] = {std::istreambuf_iterator<char>(file), {}};
    }
  }
  return content;
}

void write_disk(const DiskContent& content, const fs::path& root) {
  for (const auto& folder : content.folders) fs::create_directories(root / folder);
  for (const auto& [path, bytes] : content.files) {
    std::ofstream file(root / path, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.flush()) throw std::runtime_error("cannot write " + (root / path).string());
  }
}

Recording::Recording(fs::path root, bool exchanges) : root_(std::move(root)), before_(read_disk(root_)) {
  checkpoints_tools::set_file_hook([this, exchanges](const FileOperation& operation) -> FileFault {
    if (operation.action == FileAction::kExchange && !exchanges) return {FileFault::Kind::kError, EINVAL};
    changes_.push_back(
        {.action = operation.action,
         .path = below(operation.path),
         .other = operation.other.empty() ? "" : below(operation.other),
         .offset = operation.offset,
         .bytes = operation.bytes,
         .content = {reinterpret_cast<const char*>(operation.content.data()), operation.content.size()}});
    return {};
  });
}

void Recording::end() { checkpoints_tools::set_file_hook({}); }

int Recording::reports_after(size_t changes) const {
  return static_cast<int>(std::count_if(reports_.begin(), reports_.end(), [&](size_t at) { return at <= changes; }));
}

std::string Recording::below(const fs::path& path) const {
  const std::string relative = path.lexically_relative(root_).string();
  if (relative.empty() || relative.starts_with(".."))
    throw std::logic_error(path.string() + " is not below " + root_.string());
  return relative;
}

Disk::Disk(const DiskContent& durable) {
  inodes_.push_back({.is_folder = true});
  const auto put = [&](const std::string& path, Inode inode) {
    const int folder = folder_of(path), number = add(std::move(inode));
    inodes_[folder].names[name_of(path)] = inodes_[folder].durable_names[name_of(path)] = number;
  };
  for (const auto& folder : durable.folders) put(folder, {.is_folder = true});  // parents sort before what is in them
  for (const auto& [path, bytes] : durable.files) put(path, {.durable = bytes});
}

int Disk::add(Inode inode) {
  inodes_.push_back(std::move(inode));
  return static_cast<int>(inodes_.size()) - 1;
}

std::optional<int> Disk::find(const std::string& path) const {
  int inode = 0;
  if (path == kRoot) return inode;
  for (const fs::path& part : fs::path(path)) {
    const auto found = inodes_[inode].names.find(part.string());
    if (found == inodes_[inode].names.end()) return std::nullopt;
    inode = found->second;
  }
  return inode;
}

int Disk::folder_of(const std::string& path) const {
  const auto folder = find(parent_of(path));
  if (!folder) throw std::logic_error("no folder of " + path);
  return *folder;
}

void Disk::make(const NameChange& change, std::map<std::string, int>& names) {
  for (const auto& effect : change.effects) {
    const auto found = names.find(effect.name);
    if (effect.inode >= 0) {
      names[effect.name] = effect.inode;
    } else if (found != names.end() && found->second == effect.from) {
      names.erase(found);
    }
  }
}

void Disk::change_names(NameChange change) {
  make(change, inodes_[change.folder].names);
  unflushed_.push_back(std::move(change));
}

void Disk::add_name(const std::string& path, bool is_folder) {
  const int folder = folder_of(path), inode = add({.is_folder = is_folder});
  change_names({folder, {{name_of(path), inode}}});
}

void Disk::remove_name(const std::string& path) {
  if (const auto inode = find(path)) change_names({folder_of(path), {{name_of(path), -1, *inode}}});
}

void Disk::apply(const RecordedChange& change) {
  const auto count = static_cast<size_t>(change.bytes), offset = static_cast<size_t>(change.offset);
  switch (change.action) {
    case FileAction::kRemove:
    case FileAction::kRemoveFolder:
      return remove_name(change.path);
    case FileAction::kMakeFolder:
      return add_name(change.path, true);
    case FileAction::kCreate:
    case FileAction::kOpen:
      if (!find(change.path)) add_name(change.path, false);
      open_[change.path] = *find(change.path);
      return;
    case FileAction::kClose:
      open_.erase(change.path);
      return;
    case FileAction::kWrite:
      return opened(change.path).unflushed.push_back({offset, offset + count, change.content});
    case FileAction::kAllocate:
      return opened(change.path).unflushed.push_back({0, count, ""});
    case FileAction::kFlush: {
      Inode& file = opened(change.path);
      file.durable = content_of(file);
      return file.unflushed.clear();
    }
    case FileAction::kRename: {
      const int from = *find(change.other), folder = folder_of(change.path);
      if (folder != folder_of(change.other)) throw std::logic_error("renamed into another folder: " + change.path);
      return change_names({folder, {{name_of(change.path), from}, {name_of(change.other), -1, from}}});
    }
    case FileAction::kExchange:
      return change_names({folder_of(change.path),
                           {{name_of(change.path), *find(change.other)}, {name_of(change.other), *find(change.path)}}});
    case FileAction::kFlushFolder: {
      const int folder = *find(change.path);
      inodes_[folder].durable_names = inodes_[folder].names;
      std::erase_if(unflushed_, [&](const NameChange& made) { return made.folder == folder; });
      return;
    }
  }
}

std::string Disk::content_of(const Inode& file) {
  std::string content = file.durable;
  for (const Write& write : file.unflushed) {
    content.resize(std::max(content.size(), write.end));
    content.replace(write.offset, write.content.size(), write.content);
  }
  return content;
}

std::vector<std::pair<std::string, std::string>> Disk::contents_after_loss(const Inode& file) {
  std::vector<std::pair<std::string, std::string>> contents;
  const auto add = [&](std::string content, std::string what) {
    const bool known =
        std::any_of(contents.begin(), contents.end(), [&](const auto& other) { return other.first == content; });
    if (!known) contents.emplace_back(std::move(content), std::move(what));
  };
  const std::string full = content_of(file);
  std::string only_long = file.durable;
  only_long.resize(std::max(only_long.size(), full.size()));
  add(file.durable, "lost");
  add(full, "whole");
  add(only_long, "only as long");
  size_t begin = full.size();
  for (size_t i = 0; i < file.unflushed.size(); ++i) {
    begin = std::min(begin, file.unflushed[i].offset);
    Inode without = file;
    without.unflushed.erase(without.unflushed.begin() + static_cast<std::ptrdiff_t>(i));
    if (file.unflushed.size() <= 8) add(content_of(without), "without write " + std::to_string(i + 1));
  }
  for (const size_t unit : {512, 4096}) {
    const auto mixed = [&](const std::string& even, const std::string& odd) {
      std::string content;
      for (size_t at = 0; at < full.size(); at += unit) content += (at / unit % 2 == 0 ? even : odd).substr(at, unit);
      return content;
    };
    add(mixed(full, only_long), "without every second block of " + std::to_string(unit));
    add(mixed(only_long, full), "without every first block of " + std::to_string(unit));
    constexpr size_t kMostCuts = 16;
    const size_t blocks = (full.size() - begin) / unit + 1, stride = unit * ((blocks + kMostCuts - 1) / kMostCuts);
    for (size_t cut = (begin / unit + 1) * unit; cut < full.size(); cut += stride) {
      const std::string at = " at " + std::to_string(cut);
      add(full.substr(0, cut) + (cut < file.durable.size() ? file.durable.substr(cut) : ""), "cut off" + at);
      add(full.substr(0, cut) + only_long.substr(cut), "zeros or old from" + at);
      add(only_long.substr(0, cut) + full.substr(cut), "zeros or old up to" + at);
    }
  }
  return contents;
}

std::vector<std::vector<bool>> Disk::name_choices() const {
  const size_t count = unflushed_.size();
  std::vector<std::vector<bool>> choices;
  constexpr size_t kFew = 6;  // 64 combinations
  if (count <= kFew) {
    for (size_t bits = 0; bits < size_t{1} << count; ++bits) {
      choices.emplace_back();
      for (size_t i = 0; i < count; ++i) choices.back().push_back((bits >> i & 1) != 0);
    }
    return choices;
  }
  for (size_t i = 0; i <= count; ++i) {
    const auto choose = [&](const auto& is_made) {
      choices.emplace_back();
      for (size_t j = 0; j < count; ++j) choices.back().push_back(is_made(j));
    };
    choose([&](size_t j) { return j < i; });
    choose([&](size_t j) { return j >= i; });
    choose([&](size_t j) { return j == i; });
    choose([&](size_t j) { return j != i; });
  }
  return choices;
}

DiskContent Disk::now() const {
  Names names;
  std::map<int, std::string> contents;
  for (size_t i = 0; i < inodes_.size(); ++i) {
    names[static_cast<int>(i)] = inodes_[i].names;
    if (!inodes_[i].is_folder) contents[static_cast<int>(i)] = content_of(inodes_[i]);
  }
  return gather(names, contents);
}

void Disk::after_power_loss(const std::function<void(DiskContent, const std::string&)>& visit) const {
  // Choices of contents: of the files that are not durable, one each.
  std::map<int, std::vector<std::pair<std::string, std::string>>> unsure;
  for (size_t i = 0; i < inodes_.size(); ++i) {
    if (!inodes_[i].unflushed.empty()) unsure[static_cast<int>(i)] = contents_after_loss(inodes_[i]);
  }
  std::vector<std::pair<std::map<int, std::string>, std::string>> contents;
  for (const bool others_are_whole : {false, true}) {
    std::map<int, std::string> common;
    for (const auto& [inode, choices] : unsure)
      common[inode] = others_are_whole ? content_of(inodes_[inode]) : inodes_[inode].durable;
    contents.emplace_back(common, others_are_whole ? "all contents whole" : "all contents lost");
    for (const auto& [inode, choices] : unsure) {
      for (const auto& [content, what] : choices) {
        contents.emplace_back(common, "a content " + what + ", the others " + (others_are_whole ? "whole" : "lost"));
        contents.back().first[inode] = content;
      }
    }
  }
  for (const auto& made : name_choices()) {
    Names names;
    for (size_t i = 0; i < inodes_.size(); ++i) {
      if (inodes_[i].is_folder) names[static_cast<int>(i)] = inodes_[i].durable_names;
    }
    std::string chosen;
    for (size_t i = 0; i < made.size(); ++i) {
      if (made[i]) make(unflushed_[i], names[unflushed_[i].folder]);
      chosen += made[i] ? '1' : '0';
    }
    for (const auto& [content, what] : contents)
      visit(gather(names, content), "changes of names made: " + chosen + "; " + what);
  }
}

DiskContent Disk::gather(const Names& names, const std::map<int, std::string>& contents) const {
  DiskContent content;
  gather(0, "", names, contents, content);
  return content;
}

void Disk::gather(int folder, const std::string& path, const Names& names, const std::map<int, std::string>& contents,
                  DiskContent& into) const {
  for (const auto& [name, inode] : names.at(folder)) {
    const std::string place = path.empty() ? name : path + "/" + name;
    if (inodes_[inode].is_folder) {
      into.folders.insert(place);
      gather(inode, place, names, contents, into);
    } else {
      const auto chosen = contents.find(inode);
      into.files[place] = chosen != contents.end() ? chosen->second : inodes_[inode].durable;
    }
  }
}

ReplayCount replay_power_losses(Recording& recording, const std::set<std::string>& unrecorded,
                                const std::function<void(const fs::path& folder, int reports)>& check) {
  recording.end();
  ReplayCount count{.changes = static_cast<int64_t>(recording.changes().size())};
  Disk disk(recording.before());
  std::set<std::string> seen;
  const MemoryFolder scratch;
  const fs::path folder = scratch / "disk";
  for (size_t made = 0; made <= recording.changes().size(); ++made) {
    if (testing::Test::HasFailure()) return count;
    if (made > 0) disk.apply(recording.changes()[made - 1]);
    const int reports = recording.reports_after(made);
    disk.after_power_loss([&](const DiskContent& content, const std::string& what) {
      if (testing::Test::HasFailure() || !seen.insert(mark_of(content, reports)).second) return;
      const std::string last = made > 0 ? describe(recording.changes()[made - 1]) : "the beginning";
      SCOPED_TRACE("power lost after change " + std::to_string(made) + " (" + last + "); " + what);
      fs::remove_all(folder);
      fs::create_directory(folder);
      write_disk(content, folder);
      ++count.states;
      check(folder, reports);
    });
  }
  DiskContent found = read_disk(recording.root());
  std::erase_if(found.files, [&](const auto& file) { return unrecorded.contains(name_of(file.first)); });
  EXPECT_TRUE(found == disk.now()) << "the model sees other files than there are";
  return count;
}

void expect_states(const std::string& what, const ReplayCount& count, int64_t least) {
  std::cout << what << ": " << count.states << " states of the disk after " << count.changes << " changes\n";
  EXPECT_GE(count.states, least);
}

MemoryFolder::MemoryFolder() {
  const fs::path memory = "/dev/shm";
  std::error_code unknown;
  const fs::path above = fs::is_directory(memory, unknown) ? memory : fs::temp_directory_path();
  std::string name = (above / "layalign-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed for " + name);
  path_ = name;
}

MemoryFolder::~MemoryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace layalign::test
