#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>

namespace layalign::dist {

/// The parts of a run that have a time limit of their own.
enum class Section : int32_t { kSetUp, kStep, kSave, kEvaluation };

/// The groups whose collectives are counted: the communicators of the grid, and the control channel.
enum class GroupKind : int32_t { kWorld, kTensorParallel, kControl };
constexpr size_t kGroupKinds = 3;

/// A group of ranks next to each other, and the collectives that a rank has begun on it.
struct GroupProgress {
  int32_t first_rank = 0;
  int32_t size = 0;
  int64_t sequence = 0;
};

/// What one rank is doing, as it is sent to other ranks: plain bytes.
struct ActivityRecord {
  Section section = Section::kSetUp;
  int32_t in_collective = 0;  ///< 1 while the rank is in the last collective that it began
  int64_t number = 0;         ///< of the step, or of the batch of an evaluation
  int64_t progress = 0;       ///< sections entered, parts of them done, collectives begun: a rank that goes on counts on
  GroupKind last_group = GroupKind::kControl;
  std::array<char, 12> last_operation{};  ///< "all_reduce"; empty before the first collective
  std::array<GroupProgress, kGroupKinds> groups{};

  const GroupProgress& last() const { return groups[static_cast<size_t>(last_group)]; }
};

/// "step 12", "the evaluation, batch 3".
std::string describe_section(const ActivityRecord& record);
/// "in all_reduce number 812 of tp (ranks 2-3)"; "in no collective; the last one was ..." .
std::string describe_collective(const ActivityRecord& record);

/// What this rank is doing. Threads: any.
class Activity {
 public:
  /// A section begins, or goes on with its next step or batch.
  void enter(Section section, int64_t number = 0);
  /// The section goes on: a part of its step or batch is done.
  void go_on();
  ActivityRecord read() const;

 private:
  friend class CollectiveScope;
  mutable std::mutex mutex_;
  ActivityRecord record_;
};

/// A collective from its begin to its end.
class CollectiveScope {
 public:
  /// `activity` may be null. `group.sequence`: the number of this collective.
  CollectiveScope(Activity* activity, GroupKind kind, const GroupProgress& group, const char* operation);
  CollectiveScope(const CollectiveScope&) = delete;
  CollectiveScope& operator=(const CollectiveScope&) = delete;
  ~CollectiveScope();

 private:
  Activity* activity_;
};

}  // namespace layalign::dist
