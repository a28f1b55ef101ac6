#include "launch/watched.h"

#include "launch/failure.h"
#include "trainer/log.h"
#include "trainer/stop.h"

namespace layalign::launch {
namespace {

dist::WatchdogLimits limits_of(const configs::WatchdogConfig& config) {
  const auto seconds = [](const configs::Duration& limit) { return static_cast<double>(limit.seconds); };
  return {seconds(config.set_up), seconds(config.step), seconds(config.save), seconds(config.evaluation)};
}

}  // namespace

void with_watchdog(const std::shared_ptr<dist::Process>& process, const configs::WatchdogConfig& limits,
                   const std::function<void(dist::Watchdog&)>& body) {
  dist::Watchdog watchdog(process, limits_of(limits), {trainer::log_error, trainer::log_warn, trainer::asked_to_stop});
  try {
    body(watchdog);
  } catch (const AgreedFailure&) {
    watchdog.stop();
    throw;
  } catch (const trainer::StoppedError&) {
    watchdog.stop();
    throw;
  }
  watchdog.stop();
}

}  // namespace layalign::launch
