#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "checkpoints_tools/file_operations.h"

// What a disk may hold after a loss of power. Changes of files are recorded with their content and replayed into a
// model of a disk that promises no more than POSIX does: the content of a file is durable when the file was flushed, a
// name (made, removed, renamed, exchanged: each at once) when its folder was flushed. Whatever was not flushed may be
// on the disk or not, in any order and in part.
namespace layalign::test {

/// A file's change, as the hook saw it.
struct RecordedChange {
  checkpoints_tools::FileAction action;
  std::string path, other;  ///< below the recorded folder; that folder itself: "."
  int64_t offset = 0, bytes = 0;
  std::string content;
};

/// Files and folders by their paths below the root.
struct DiskContent {
  std::map<std::string, std::string> files;
  std::set<std::string> folders;

  bool operator==(const DiskContent&) const = default;
};

DiskContent read_disk(const std::filesystem::path& root);
void write_disk(const DiskContent& content, const std::filesystem::path& root);

/// Notes all changes of files below a folder while it lives.
class Recording {
 public:
  /// What lies in `root` is durable. `exchanges`: whether the file system can exchange two names.
  explicit Recording(std::filesystem::path root, bool exchanges = true);
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() { end(); }
  /// What is done from here on is not noted.
  void end();

  /// What has been written so far was reported as done: it must outlive every loss of power from here on.
  void reported() { reports_.push_back(changes_.size()); }

  const std::filesystem::path& root() const { return root_; }
  const DiskContent& before() const { return before_; }
  const std::vector<RecordedChange>& changes() const { return changes_; }
  /// How many reports there were when only the first `changes` had been made.
  int reports_after(size_t changes) const;

 private:
  std::string below(const std::filesystem::path& path) const;

  std::filesystem::path root_;
  DiskContent before_;
  std::vector<RecordedChange> changes_;
  std::vector<size_t> reports_;
};

/// The model.
class Disk {
 public:
  explicit Disk(const DiskContent& durable);

  void apply(const RecordedChange& change);
  /// What programs see now.
  DiskContent now() const;
  /// What may be found if power is lost now. Changes of names that are not durable are made in every combination where
  /// they are few, else none, all, those up to and from each, each alone and all but each. With each of these, contents
  /// that are not durable are lost, whole, zeros of the right length, without one of their writes, and torn at 512 and
  /// 4096 bytes: cut off there, with zeros (or what was there) from there on or up to there, or with every second block
  /// missing. `what`: words for the choice.
  void after_power_loss(const std::function<void(DiskContent, const std::string& what)>& visit) const;

 private:
  struct Write {
    size_t offset = 0, end = 0;
    std::string content;  // of an allocation: none
  };
  struct Inode {
    bool is_folder = false;
    std::string durable;               // of a file
    std::vector<Write> unflushed;      // of a file
    std::map<std::string, int> names;  // of a folder, as programs see it
    std::map<std::string, int> durable_names;
  };
  /// One change of a folder's names: those that lead elsewhere from then on, -1: nowhere (if they led to `from`).
  struct NameChange {
    struct Effect {
      std::string name;
      int inode = -1, from = -1;
    };
    int folder = 0;
    std::vector<Effect> effects;
  };
  /// Folders' names, by inode.
  using Names = std::map<int, std::map<std::string, int>>;

  static void make(const NameChange& change, std::map<std::string, int>& names);
  static std::string content_of(const Inode& file);
  static std::vector<std::pair<std::string, std::string>> contents_after_loss(const Inode& file);

  int add(Inode inode);
  std::optional<int> find(const std::string& path) const;
  int folder_of(const std::string& path) const;
  void change_names(NameChange change);
  void add_name(const std::string& path, bool is_folder);
  void remove_name(const std::string& path);
  Inode& opened(const std::string& path) { return inodes_.at(open_.at(path)); }
  std::vector<std::vector<bool>> name_choices() const;
  DiskContent gather(const Names& names, const std::map<int, std::string>& contents) const;
  void gather(int folder, const std::string& path, const Names& names, const std::map<int, std::string>& contents,
              DiskContent& into) const;

  std::vector<Inode> inodes_;
  std::vector<NameChange> unflushed_;  // in the order in which they were made
  std::map<std::string, int> open_;
};

/// How many contents of a disk were looked at.
struct ReplayCount {
  int64_t states = 0;  ///< different ones; the same content counts again where more has been reported
  int64_t changes = 0;
};

/// Ends the recording, writes every content that it may leave behind, for every number of changes that were made before
/// power was lost, to a folder and calls `check(folder, reports)`. A check that fails (GoogleTest) ends it, with the
/// place in the trace. What the model sees in the end must be what lies on the real disk, but for files of the names
/// `unrecorded`.
ReplayCount replay_power_losses(Recording& recording, const std::set<std::string>& unrecorded,
                                const std::function<void(const std::filesystem::path& folder, int reports)>& check);

/// Prints how many states of `what` there were, and expects at least so many.
void expect_states(const std::string& what, const ReplayCount& count, int64_t least);

/// A new folder in memory, where a flush costs nothing, if there is such a file system; removed with the object.
class MemoryFolder {
 public:
  MemoryFolder();
  MemoryFolder(const MemoryFolder&) = delete;
  MemoryFolder& operator=(const MemoryFolder&) = delete;
  ~MemoryFolder();
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace layalign::test
