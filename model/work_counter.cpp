#include "model/work_counter.h"

#include <ATen/ATen.h>
#include <ATen/SequenceNumber.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace layalign::model {
namespace {

struct Place {
  Part part = Part::kOther;
  bool backward = false;
  bool product = false;  // within a product
  int64_t depth = 0;     // operators that are being executed
};

/// Where this thread is.
thread_local Place here;
thread_local bool silent = false;  // the synchronisation of this copy is counted already
thread_local int64_t products = 0;      // that this thread has begun
thread_local int64_t moved_so_far = 0;  // bytes that this thread has moved

/// A part from the autograd node with this number on, until the next one.
using Timeline = std::vector<std::pair<uint64_t, Part>>;

int64_t size_of(const at::RecordFunction& call, size_t input, int64_t dim) {
  return call.inputs()[input].toTensor().size(dim);
}

/// Rows in all times columns of `left` times columns of `right`: [.., n, k] x [.., k, m].
int64_t product(const at::RecordFunction& call, size_t left) {
  return 2 * call.inputs()[left].toTensor().numel() * size_of(call, left + 1, -1);
}

/// The two products of attention; `first` is the place of the queries, [B, H, T, dh].
int64_t attention(const at::RecordFunction& call, size_t first, size_t causal) {
  const auto& q = call.inputs()[first].toTensor();
  const int64_t T = q.size(2), S = size_of(call, first + 1, 2);
  const int64_t pairs = call.inputs()[causal].toBool() ? T * (T + 1) / 2 : T * S;
  return 2 * q.size(0) * q.size(1) * pairs * (q.size(3) + size_of(call, first + 2, 3));
}

using Rule = int64_t (*)(const at::RecordFunction&);

int64_t attention_backward(const at::RecordFunction& call, size_t causal) { return attention(call, 1, causal) * 5 / 2; }

/// FLOPs by operator. LibTorch's other products (linear, matmul, einsum) are made of these.
const std::unordered_map<std::string_view, Rule>& rules() {
  static const std::unordered_map<std::string_view, Rule> rules = {
      {"aten::mm", [](const at::RecordFunction& call) { return product(call, 0); }},
      {"aten::bmm", [](const at::RecordFunction& call) { return product(call, 0); }},
      {"aten::_scaled_mm", [](const at::RecordFunction& call) { return product(call, 0); }},
      {"aten::addmm", [](const at::RecordFunction& call) { return product(call, 1); }},
      {"aten::_addmm_activation", [](const at::RecordFunction& call) { return product(call, 1); }},
      {"aten::baddbmm", [](const at::RecordFunction& call) { return product(call, 1); }},
      {"mkldnn::_linear_pointwise",  // x [.., K], weight [N, K]
       [](const at::RecordFunction& call) {
         return 2 * call.inputs()[0].toTensor().numel() * call.inputs()[1].toTensor().size(0);
       }},
      {"aten::mv", [](const at::RecordFunction& call) { return 2 * call.inputs()[0].toTensor().numel(); }},
      {"aten::_scaled_dot_product_flash_attention_for_cpu",
       [](const at::RecordFunction& call) { return attention(call, 0, 4); }},
      {"aten::_scaled_dot_product_flash_attention",
       [](const at::RecordFunction& call) { return attention(call, 0, 4); }},
      {"aten::_scaled_dot_product_efficient_attention",
       [](const at::RecordFunction& call) { return attention(call, 0, 6); }},
      {"aten::_scaled_dot_product_cudnn_attention",
       [](const at::RecordFunction& call) { return attention(call, 0, 6); }},
      {"aten::_scaled_dot_product_flash_attention_for_cpu_backward",
       [](const at::RecordFunction& call) { return attention_backward(call, 7); }},
      {"aten::_scaled_dot_product_flash_attention_backward",
       [](const at::RecordFunction& call) { return attention_backward(call, 11); }},
      {"aten::_scaled_dot_product_efficient_attention_backward",
       [](const at::RecordFunction& call) { return attention_backward(call, 11); }},
      {"aten::_scaled_dot_product_cudnn_attention_backward",
       [](const at::RecordFunction& call) { return attention_backward(call, 14); }},
  };
  return rules;
}

/// Products, with those of GPUs whose FLOPs their caller counts: the samples' lengths lie on the device.
bool is_product(std::string_view name) {
  static const std::unordered_set<std::string_view> varlen = {
      "aten::_flash_attention_forward", "aten::_flash_attention_backward", "aten::_efficient_attention_forward",
      "aten::_efficient_attention_backward"};
  return rules().contains(name) || varlen.contains(name);
}

/// Whether the host waits for the device in this call.
bool is_sync(const at::RecordFunction& call, at::Device device) {
  const std::string_view name = call.name();
  if (device.is_cpu()) {  // what would wait on a GPU; CPU kernels may read their own arguments
    static const std::unordered_set<std::string_view> reads = {"aten::item",       "aten::_local_scalar_dense",
                                                               "aten::is_nonzero", "aten::equal",
                                                               "aten::nonzero",    "aten::masked_select"};
    return here.depth == 0 && reads.contains(name);
  }
  const auto device_of = [&](size_t input) { return call.inputs()[input].toTensor().device(); };
  if (name == "aten::_local_scalar_dense" || name == "aten::nonzero") return device_of(0) == device;
  return name == "aten::copy_" && !silent && device_of(0) != device_of(1) && !call.inputs()[2].toBool();
}

bool has_memory(const at::Tensor& tensor) { return tensor.defined() && tensor.has_storage(); }

/// Bytes of a tensor; no more than it has memory, where it is expanded.
int64_t bytes_of(const at::Tensor& tensor) {
  return std::min(static_cast<int64_t>(tensor.nbytes()), static_cast<int64_t>(tensor.storage().nbytes()));
}

/// Calls `each` with the tensors of an argument or a result that have memory.
template <typename Each>
void for_tensors(const c10::IValue& value, const Each& each) {
  if (value.isTensor() && has_memory(value.toTensor())) each(value.toTensor());
  if (!value.isTensorList()) return;
  for (const at::Tensor& tensor : value.toTensorVector()) {
    if (has_memory(tensor)) each(tensor);
  }
}

/// Operators that end in _ and change no values, and what LibTorch calls in the course of others ("detach", "autograd::engine...").
bool moves_nothing(std::string_view name) {
  static const std::unordered_set<std::string_view> names = {"aten::set_",       "aten::detach_",  "aten::resize_",    "aten::unsqueeze_",
                                                             "aten::squeeze_",   "aten::t_",       "aten::transpose_", "aten::as_strided_",
                                                             "aten::requires_grad_"};
  return !name.starts_with("aten::") || name.starts_with("aten::empty") || names.contains(name);
}

/// Operators that write their first argument without reading it.
bool overwrites(std::string_view name) { return name == "aten::copy_" || name == "aten::fill_" || name == "aten::zero_"; }

/// Operators that read of their first argument, a table, as much as they give.
bool looks_up(std::string_view name) {
  return name == "aten::index_select" || name == "aten::embedding" || name == "aten::gather" || name == "aten::index";
}

/// A call of an operator or of an autograd node, while it runs.
struct Call : at::ObserverContext {
  Place place = here;  // where the thread was before
  bool moves = false;  // it may read and write
  bool in_place = false;
  bool of_table = false;
  bool gives_nothing_more = false;  // what it writes is among its inputs
  int64_t moved_before = moved_so_far, products_before = products;
  int64_t input_bytes = 0;
  std::vector<const void*> storages;  // of its inputs

  void read_inputs(const at::RecordFunction& call) {
    const std::string_view name = call.name();
    moves = !here.product && !moves_nothing(name);
    if (!moves) return;
    const bool fused_update = name.starts_with("aten::_fused_") && name.ends_with("_");
    const bool into_out = std::string_view(call.overload_name()).ends_with("out");  // the last argument, which is written
    in_place = name.ends_with("_") || into_out;
    of_table = looks_up(name);
    gives_nothing_more = fused_update || into_out;
    for (size_t i = 0; i < call.inputs().size(); ++i) {
      for_tensors(call.inputs()[i], [&](const at::Tensor& tensor) {
        storages.push_back(tensor.storage().data());
        if (i > 0 || !(of_table || overwrites(name))) input_bytes += bytes_of(tensor);
        // An optimiser of LibTorch gives nothing back: it changes all its lists but the second one, the gradients.
        if (fused_update && i != 1 && call.inputs()[i].isTensorList()) input_bytes += bytes_of(tensor);
      });
    }
  }

  /// At its end: what it read and wrote itself, beside what operators that it called have counted. Nothing for a view, for an operator
  /// that is made of products, and for one that gives no tensor.
  int64_t moved_bytes(const at::RecordFunction& call) const {
    if (!moves || products != products_before) return 0;
    int64_t output_bytes = 0;
    bool gives = gives_nothing_more, view = false;
    for (const auto& output : call.outputs()) {
      for_tensors(output, [&](const at::Tensor& tensor) {
        gives = true;
        output_bytes += bytes_of(tensor);
        view = view || (!in_place && std::ranges::find(storages, tensor.storage().data()) != storages.end());
      });
    }
    if (!gives || view) return 0;
    const int64_t own = input_bytes + (gives_nothing_more ? 0 : output_bytes) + (of_table ? output_bytes : 0);
    return std::max<int64_t>(0, own - (moved_so_far - moved_before));
  }
};

}  // namespace

struct WorkObserver {
  explicit WorkObserver(at::Device counted) : device(counted) {}

  void mark() {
    const std::lock_guard lock(mutex);
    timelines[at::RecordFunction::currentThreadId()].emplace_back(at::sequence_number::peek(), here.part);
  }

  Part part_of_node(uint64_t thread, uint64_t number) {
    const std::lock_guard lock(mutex);
    const Timeline& timeline = timelines[thread];
    const auto later = std::upper_bound(timeline.begin(), timeline.end(), number,
                                        [](uint64_t value, const auto& entry) { return value < entry.first; });
    return later == timeline.begin() ? Part::kOther : std::prev(later)->second;
  }

  void add(int64_t flops) {
    const std::lock_guard lock(mutex);
    (here.backward ? count.flops.backward : count.flops.forward)[static_cast<size_t>(here.part)] += flops;
  }

  void move(int64_t bytes) {
    moved_so_far += bytes;
    const std::lock_guard lock(mutex);
    count.moved_bytes += bytes;
  }

  void see(const at::RecordFunction& call);

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& call);
  static void end(const at::RecordFunction& call, at::ObserverContext* context);

  at::Device device;
  mutable std::mutex mutex;
  WorkCount count;
  std::unordered_map<uint64_t, Timeline> timelines;  // by thread
};

namespace {

std::atomic<WorkObserver*> active{nullptr};

}  // namespace

void WorkObserver::see(const at::RecordFunction& call) {
  const std::string_view name = call.name();
  if (const auto rule = rules().find(name); rule != rules().end()) add(rule->second(call));
  const bool sync = is_sync(call, device);
  const std::lock_guard lock(mutex);
  count.operators += here.depth == 0;
  count.host_syncs += sync;
}

std::unique_ptr<at::ObserverContext> WorkObserver::begin(const at::RecordFunction& call) {
  WorkObserver* const observer = active.load();
  if (observer == nullptr) return nullptr;
  auto begun = std::make_unique<Call>();
  if (call.scope() == at::RecordScope::FUNCTION) {
    observer->see(call);
    if (is_product(call.name())) {
      here.product = true;
      ++products;
    }
    begun->read_inputs(call);
    ++here.depth;
    return begun;
  }
  here = {.part = observer->part_of_node(call.forwardThreadId(), static_cast<uint64_t>(call.seqNr())), .backward = true};
  return begun;
}

void WorkObserver::end(const at::RecordFunction& call, at::ObserverContext* context) {
  if (context == nullptr) return;
  const auto* const begun = static_cast<Call*>(context);
  here = begun->place;
  if (auto* const observer = active.load()) observer->move(begun->moved_bytes(call));
}

WorkCounter::WorkCounter(at::Device device) : observer_(std::make_unique<WorkObserver>(device)) {
  WorkObserver* none = nullptr;
  TORCH_CHECK(active.compare_exchange_strong(none, observer_.get()), "two WorkCounters at a time");
  handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&WorkObserver::begin, &WorkObserver::end)
                                           .needsInputs(true)
                                           .needsOutputs(true)
                                           .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  observer_->mark();
}

WorkCounter::~WorkCounter() {
  at::removeCallback(handle_);
  active = nullptr;
}

WorkCount WorkCounter::count() const {
  const std::lock_guard lock(observer_->mutex);
  return observer_->count;
}

PartScope::PartScope(Part part) : before_(std::exchange(here.part, part)) {
  if (auto* observer = active.load(std::memory_order_relaxed)) observer->mark();
}

PartScope::~PartScope() {
  here.part = before_;
  if (auto* observer = active.load(std::memory_order_relaxed)) observer->mark();
}

void count_product(int64_t flops) {
  if (auto* observer = active.load(std::memory_order_relaxed)) observer->add(flops);
}

void count_moved(std::initializer_list<at::Tensor> tensors) {
  auto* const observer = active.load(std::memory_order_relaxed);
  if (observer == nullptr) return;
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) bytes += has_memory(tensor) ? bytes_of(tensor) : 0;
  observer->move(bytes);
}

at::Tensor to_host(const at::Tensor& tensor) {
  auto* const observer = active.load(std::memory_order_relaxed);
  if (observer == nullptr) return tensor.to(at::kCPU);
  {
    const std::lock_guard lock(observer->mutex);
    ++observer->count.host_syncs;
  }
  silent = true;
  auto host = tensor.to(at::kCPU);
  silent = false;
  return host;
}

}  // namespace layalign::model
