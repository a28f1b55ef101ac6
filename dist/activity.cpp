#include "dist/activity.h"

#include <algorithm>
#include <string_view>

namespace layalign::dist {
namespace {

const char* name_of(GroupKind kind) {
  switch (kind) {
    case GroupKind::kWorld:
      return "world";
    case GroupKind::kTensorParallel:
      return "tp";
    case GroupKind::kControl:
      break;
  }
  return "the control channel";
}

}  // namespace

std::string describe_section(const ActivityRecord& record) {
  const std::string number = std::to_string(record.number);
  switch (record.section) {
    case Section::kStep:
      return "step " + number;
    case Section::kSave:
      return "the checkpoint after step " + number;
    case Section::kEvaluation:
      return "the evaluation, batch " + number;
    case Section::kSetUp:
      break;
  }
  return "the set-up";
}

std::string describe_collective(const ActivityRecord& record) {
  if (record.last_operation[0] == '\0') return "in no collective, there was none yet";
  const GroupProgress& group = record.last();
  const std::string last = std::string(record.last_operation.data()) + " number " + std::to_string(group.sequence) + " of " +
                           name_of(record.last_group) + " (ranks " + std::to_string(group.first_rank) + "-" +
                           std::to_string(group.first_rank + group.size - 1) + ")";
  return record.in_collective != 0 ? "in " + last : "in no collective; the last one was " + last;
}

void Activity::enter(Section section, int64_t number) {
  const std::lock_guard lock(mutex_);
  record_.section = section;
  record_.number = number;
  ++record_.progress;
}

void Activity::go_on() {
  const std::lock_guard lock(mutex_);
  ++record_.progress;
}

ActivityRecord Activity::read() const {
  const std::lock_guard lock(mutex_);
  return record_;
}

CollectiveScope::CollectiveScope(Activity* activity, GroupKind kind, const GroupProgress& group, const char* operation)
    : activity_(activity) {
  if (activity_ == nullptr) return;
  const std::lock_guard lock(activity_->mutex_);
  ActivityRecord& record = activity_->record_;
  record.groups[static_cast<size_t>(kind)] = group;
  record.last_group = kind;
  record.last_operation.fill('\0');
  std::string_view(operation).copy(record.last_operation.data(), record.last_operation.size() - 1);
  record.in_collective = 1;
  ++record.progress;
}

CollectiveScope::~CollectiveScope() {
  if (activity_ == nullptr) return;
  const std::lock_guard lock(activity_->mutex_);
  activity_->record_.in_collective = 0;
}

}  // namespace layalign::dist
