#include "dist/communicator.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>
#include <vector>

#include "dist/error.h"

namespace layalign::dist {

struct Communicator::State {
  std::string name = "self";
  int rank = 0;
  int size = 1;
  at::Device device = at::kCPU;
  std::shared_ptr<Backend> backend;
  TrafficByKind traffic;
  int64_t sequence = 0;
  std::shared_ptr<Activity> activity;  // may be null
  GroupKind group_kind = GroupKind::kWorld;
  int first_rank = 0;

  void check(const char* operation, const at::Tensor& tensor) const;
  template <class Call>
  void issue(const char* operation, Traffic& kind, const at::Tensor& tensor, Call call);
};

namespace {

bool is_supported(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
    case at::kDouble:
    case at::kBFloat16:
    case at::kLong:
    case at::kInt:
    case at::kByte:
      return true;
    default:
      return false;
  }
}

void check_root(int root, int size) {
  TORCH_CHECK(root >= 0 && root < size, "broadcast: expected a root in [0, ", size, "), got ", root);
}

// The transport writes behind autograd's back; a tensor that autograd saved must be seen to have changed.
void mark_written(const at::Tensor& tensor) {
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

}  // namespace

void Communicator::State::check(const char* operation, const at::Tensor& tensor) const {
  TORCH_CHECK(tensor.defined(), operation, " on ", name, ": expected a tensor, got an undefined one");
  TORCH_CHECK(is_supported(tensor.scalar_type()), operation, " on ", name,
              ": expected float32, float64, bfloat16, int64, int32 or uint8, got ", tensor.scalar_type());
  TORCH_CHECK(tensor.is_contiguous(), operation, " on ", name, ": expected a contiguous tensor, got sizes ",
              tensor.sizes(), " with strides ", tensor.strides());
  TORCH_CHECK(
      !(tensor.requires_grad() && at::GradMode::is_enabled()), operation, " on ", name,
      ": autograd records this tensor and would not see the collective; use tensor_parallel.h or a NoGradGuard");
  TORCH_CHECK(size == 1 || tensor.device() == device, operation, " on ", name, ": expected a tensor on ", device,
              ", got ", tensor.device());
}

template <class Call>
void Communicator::State::issue(const char* operation, Traffic& kind, const at::Tensor& tensor, Call call) {
  ++sequence;
  ++kind.calls;
  kind.bytes += static_cast<int64_t>(tensor.nbytes());
  const CollectiveScope scope(activity.get(), group_kind, {first_rank, size, sequence}, operation);
  try {
    call();
  } catch (const CommError& error) {
    throw CommError(std::string(operation) + " (number " + std::to_string(sequence) + " of group " + name + ", rank " +
                    std::to_string(rank) + " of " + std::to_string(size) + ", " + std::to_string(tensor.numel()) + " " +
                    at::toString(tensor.scalar_type()) + " values): " + error.what());
  }
}

Communicator::Communicator() : state_(std::make_shared<State>()) {}

Communicator::Communicator(std::string name, int rank, int size, at::Device device, std::shared_ptr<Backend> backend)
    : Communicator() {
  TORCH_CHECK(size >= 1 && rank >= 0 && rank < size, "group ", name, ": rank ", rank, " of ", size);
  TORCH_CHECK(size == 1 || backend, "group ", name, " of ", size, " ranks has no backend");
  state_->name = std::move(name);
  state_->rank = rank;
  state_->size = size;
  state_->device = device;
  state_->backend = std::move(backend);
}

void Communicator::report_to(std::shared_ptr<Activity> activity, GroupKind kind, int first_rank) const {
  state_->activity = std::move(activity);
  state_->group_kind = kind;
  state_->first_rank = first_rank;
}

int Communicator::rank() const { return state_->rank; }
int Communicator::size() const { return state_->size; }
const std::string& Communicator::name() const { return state_->name; }
const char* Communicator::backend() const { return state_->size == 1 ? "self" : state_->backend->name(); }
const TrafficByKind& Communicator::traffic() const { return state_->traffic; }
int64_t Communicator::sequence() const { return state_->sequence; }

void Communicator::abort() const noexcept {
  if (state_->backend) state_->backend->abort();
}

void Communicator::go_on() const {
  if (state_->activity) state_->activity->go_on();
}

void Communicator::all_reduce(at::Tensor tensor, Reduce op) const {
  state_->check("all_reduce", tensor);
  if (size() == 1 || tensor.numel() == 0) return go_on();
  state_->issue("all_reduce", state_->traffic.all_reduce, tensor, [&] { state_->backend->all_reduce(tensor, op); });
  mark_written(tensor);
}

at::Tensor Communicator::all_gather(const at::Tensor& local) const {
  state_->check("all_gather", local);
  if (size() == 1) {
    go_on();
    return local.detach().unsqueeze(0);
  }
  std::vector<int64_t> shape = local.sizes().vec();
  shape.insert(shape.begin(), size());
  at::Tensor out = at::empty(shape, local.options());
  if (local.numel() == 0) return out;
  state_->issue("all_gather", state_->traffic.all_gather, local, [&] { state_->backend->all_gather(local, out); });
  return out;
}

void Communicator::broadcast(at::Tensor tensor, int root) const {
  state_->check("broadcast", tensor);
  check_root(root, size());
  if (size() == 1 || tensor.numel() == 0) return go_on();
  state_->issue("broadcast", state_->traffic.broadcast, tensor, [&] { state_->backend->broadcast(tensor, root); });
  mark_written(tensor);
}

}  // namespace layalign::dist
