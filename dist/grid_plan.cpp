#include "dist/grid_plan.h"

#include <array>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>

#include "dist/error.h"

namespace layalign::dist {
namespace {

constexpr char kSeparator = '\x1f';

std::string count(size_t number, const std::string& noun) {
  return std::to_string(number) + " " + noun + (number == 1 ? "" : "s");
}

void check_choice(const std::string& key, const std::string& value, const std::set<std::string>& allowed) {
  if (allowed.count(value)) return;
  std::string list;
  for (const std::string& choice : allowed) list += (list.empty() ? "" : ", ") + choice;
  throw CommError(key + ": expected one of " + list + ", got \"" + value + "\"");
}

// All must have been asked for the same thing, or they would decide differently.
void check_same_request(const std::vector<RankFacts>& ranks) {
  const auto request = [](const RankFacts& rank) {
    return "parallel.tensor " + std::to_string(rank.tp) + ", parallel.device " + rank.device + ", comm.backend " +
           rank.backend;
  };
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    if (request(ranks[rank]) == request(ranks[0])) continue;
    throw CommError("the ranks disagree: rank 0 has " + request(ranks[0]) + "; rank " + std::to_string(rank) + " has " +
                    request(ranks[rank]) + ". Start all of them with the same config.");
  }
}

void check_groups(const std::vector<RankFacts>& ranks) {
  const int tp = ranks[0].tp;
  if (tp < 1) throw CommError("parallel.tensor: expected at least 1, got " + std::to_string(tp));
  const auto group_size = static_cast<size_t>(tp);
  if (ranks.size() % group_size != 0) {
    throw CommError(count(ranks.size(), "rank") + " cannot be divided into tensor-parallel groups of " +
                    std::to_string(tp) + ": start a multiple of " + std::to_string(tp) +
                    " ranks, or set parallel.tensor");
  }
  for (size_t first = 0; first < ranks.size(); first += group_size) {
    const size_t last = first + group_size - 1;
    for (size_t rank = first + 1; rank <= last; ++rank) {
      if (ranks[rank].node == ranks[first].node) continue;
      throw CommError(
          "the tensor-parallel group of ranks " + std::to_string(first) + " to " + std::to_string(last) +
          " is spread over nodes: rank " + std::to_string(first) + " runs on " + ranks[first].host + ", rank " +
          std::to_string(rank) + " on " + ranks[rank].host + ". Start a multiple of " + std::to_string(tp) +
          " ranks on each node, neighbours together (mpirun --map-by ppr:N:node, srun --ntasks-per-node=N), "
          "or set parallel.tensor to a divisor of the ranks of a node.");
    }
  }
}

bool choose_cuda(const std::vector<RankFacts>& ranks) {
  const std::string& device = ranks[0].device;
  check_choice("parallel.device", device, {"auto", "cpu", "cuda"});
  if (device == "cpu") return false;
  std::string without;
  size_t missing = 0;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].gpu_count > 0) continue;
    ++missing;
    without += "\n  rank " + std::to_string(rank) + " on " + ranks[rank].host + ": " + ranks[rank].gpu_problem;
  }
  if (missing == 0) return true;
  if (device == "auto" && missing == ranks.size()) return false;
  throw CommError(count(missing, "rank") + " of " + std::to_string(ranks.size()) + (missing == 1 ? " has" : " have") +
                  " no usable GPU (parallel.device is " + device +
                  "); mend that, or set parallel.device to cpu:" + without);
}

// NCCL refuses two ranks on one GPU: the first such pair, or {-1, -1}.
std::pair<int, int> ranks_on_one_gpu(const std::vector<RankFacts>& ranks) {
  std::map<std::pair<int, std::string>, int> owner;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto [place, is_new] =
        owner.emplace(std::pair(ranks[rank].node, ranks[rank].gpu_bus_id), static_cast<int>(rank));
    if (!is_new) return {place->second, static_cast<int>(rank)};
  }
  return {-1, -1};
}

void check_nccl_versions(const std::vector<RankFacts>& ranks) {
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    if (ranks[rank].nccl_version == ranks[0].nccl_version) continue;
    throw CommError("the ranks load different NCCL libraries: rank 0 on " + ranks[0].host + " version " +
                    std::to_string(ranks[0].nccl_version) + ", rank " + std::to_string(rank) + " on " +
                    ranks[rank].host + " version " + std::to_string(ranks[rank].nccl_version) +
                    ". Install the same wheels on all nodes.");
  }
}

bool choose_nccl(const std::vector<RankFacts>& ranks, bool cuda) {
  const std::string& backend = ranks[0].backend;
  check_choice("comm.backend", backend, {"auto", "mpi", "nccl"});
  if (!cuda && backend == "nccl") {
    throw CommError(
        "comm.backend: nccl moves GPU memory, but the device is cpu; set comm.backend to auto, or parallel.device to "
        "cuda");
  }
  if (!cuda || backend == "mpi") return false;
  const auto [one, other] = ranks_on_one_gpu(ranks);
  if (other >= 0) {
    if (backend == "auto") return false;
    const RankFacts& facts = ranks[static_cast<size_t>(one)];
    throw CommError("ranks " + std::to_string(one) + " and " + std::to_string(other) + " share the GPU " +
                    facts.gpu_bus_id + " of " + facts.host +
                    ", which NCCL refuses: start at most one rank a GPU, or set comm.backend to mpi");
  }
  check_nccl_versions(ranks);
  return true;
}

}  // namespace

std::string pack_facts(const RankFacts& facts) {
  std::string bytes;
  for (const std::string& field :
       {facts.host, std::to_string(facts.node), std::to_string(facts.tp), facts.device, facts.backend,
        std::to_string(facts.gpu_count), facts.gpu_bus_id, std::to_string(facts.nccl_version), facts.gpu_problem}) {
    bytes += field + kSeparator;
  }
  return bytes;
}

RankFacts unpack_facts(const std::string& bytes) {
  std::array<std::string, 9> fields;
  size_t at = 0;
  for (std::string& field : fields) {
    const size_t end = bytes.find(kSeparator, at);
    if (end == std::string::npos) throw CommError("a rank sent malformed facts: are all ranks the same program?");
    field = bytes.substr(at, end - at);
    at = end + 1;
  }
  RankFacts facts;
  facts.host = fields[0];
  facts.node = std::stoi(fields[1]);
  facts.tp = std::stoi(fields[2]);
  facts.device = fields[3];
  facts.backend = fields[4];
  facts.gpu_count = std::stoi(fields[5]);
  facts.gpu_bus_id = fields[6];
  facts.nccl_version = std::stoi(fields[7]);
  facts.gpu_problem = fields[8];
  return facts;
}

GridPlan plan_grid(const std::vector<RankFacts>& ranks) {
  check_same_request(ranks);
  check_groups(ranks);
  GridPlan plan;
  plan.cuda = choose_cuda(ranks);
  plan.nccl = choose_nccl(ranks, plan.cuda);
  return plan;
}

}  // namespace layalign::dist
