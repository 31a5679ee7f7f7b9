-- Health of a RewriterRelease for Argo CD. Reads conditions first (they are the contract), then the state.
--   Degraded     a person must act (Stalled), or a stage has no pod that answers (Ready=False)
--   Suspended    the rollout waits for an approval
--   Progressing  being set up, or a cycle runs; incumbents go on serving
--   Healthy      every stage is served, no cycle runs; a rejected or rolled back candidate is Healthy too, because
--                what serves is what served before
-- Two annotations of the release choose otherwise:
--   rewriter.dev/argocd-during-cycle: Healthy    a cycle of hours does not hold up sync waves and hooks
--   rewriter.dev/argocd-not-promoted: Degraded   the last cycle's end shows, until a later one is promoted
local health = {}
local annotations = (obj.metadata and obj.metadata.annotations) or {}
local status = obj.status

local function answer(word, message)
  health.status = word
  health.message = message
  return health
end

if status == nil or status.conditions == nil or (status.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return answer("Progressing", "the operator has not seen this version of the spec yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end

local function is(kind, truth)
  return conditions[kind] ~= nil and conditions[kind].status == truth
end

if is("Stalled", "True") then
  return answer("Degraded", conditions["Stalled"].reason .. ": " .. (conditions["Stalled"].message or ""))
end
if is("Ready", "False") and status.state ~= "Bootstrapping" then
  return answer("Degraded", conditions["Ready"].reason .. ": " .. (conditions["Ready"].message or ""))
end

local function awaited()
  if status.state ~= "RollingOut" or status.cycle == nil or status.cycle.candidate == nil then
    return nil
  end
  -- The plan of the running cycle: a change of the spec's stages may wait for the cycle's end.
  local plans = {}
  for _, stage in ipairs((status.plan or {}).stages or obj.spec.rollout.stages) do
    plans[stage.name] = stage.steps
  end
  for _, stage in ipairs(status.stages or {}) do
    local step = (plans[stage.name] or {})[(stage.step or 0) + 1]
    local by_hand = step ~= nil and (step.does == "Approval" or (step.pause ~= nil and step.pause.duration == nil))
    if (stage.stepAt or 0) > 0 and by_hand then
      return stage.name
    end
  end
  return nil
end

if status.state == "Holding" and status.cycle ~= nil and status.cycle.hold ~= nil then
  return answer("Suspended", "the gate could not decide; approve or abort: action approve-gate")
end
if status.state == "Baking" and status.cycle ~= nil and status.cycle.promotion ~= nil
  and (status.cycle.promotion.approvedAt or 0) == 0 then
  return answer("Suspended", "the promotion waits for approval: action approve-promotion")
end
local stage = awaited()
if stage ~= nil then
  return answer("Suspended", stage .. " waits for approval: action approve-" .. stage)
end
-- Between two cycles that follow at once, or before the first, the state is Idle for a moment.
local at_rest = status.state == "Idle" and not is("Reconciling", "True")
local during_cycle = not at_rest and status.state ~= "Bootstrapping" and is("Ready", "True")
if during_cycle and annotations["rewriter.dev/argocd-during-cycle"] == "Healthy" then
  return answer("Healthy", status.state .. ": " .. (status.message or ""))
end
if not at_rest then
  return answer("Progressing", (status.state or "new") .. ": " .. (status.message or ""))
end
if not is("Ready", "True") then
  return answer("Progressing", "not known yet whether every stage is served")
end
local last = (status.history or {})[1]
if annotations["rewriter.dev/argocd-not-promoted"] == "Degraded" and last ~= nil and last.outcome ~= "Promoted" then
  return answer("Degraded", "cycle " .. tostring(last.number) .. " " .. last.outcome .. ": " .. (last.message or ""))
end
return answer("Healthy", status.message or "")
