--- Who the running code acts as, and what that may do.
---
--- A consumer or a process acts as its `lifecycle.security` says, and so does what it calls. The
--- policies of its scope decide: deny beats allow, nothing said is a no. Code without an actor and
--- a scope may do everything, unless the app's `host.config` says `security: strict`. The top level
--- of a function's module is such code: its VMs serve every caller.
---
--- INVALID: an ID, an action or a resource over 1024 bytes, a `meta` over 64 KiB packed.

local host, vm = ...

local error, ipairs, setmetatable, type = error, ipairs, setmetatable, type
local pack, unpack = vm.pack, vm.unpack

---@class security
local M = {}

---@alias security.Verdict "allow"|"deny"|"undefined"

local invalid = vm.invalid

local function is_text(value)
  return type(value) == "string" and value ~= ""
end

-- Objects are empty tables; what they stand for is out of the reach of scripts.
local function make_type(name)
  local methods = {}
  local metatable = vm.read_only(name, methods)
  local facts = setmetatable({}, { __mode = "k" })
  local function create(value)
    local object = vm.protect(setmetatable({}, metatable))
    facts[object] = value
    return object
  end
  local function facts_of(self)
    return facts[self] or error("not a " .. name .. ": call its methods with ':'", 3)
  end
  return methods, facts, create, facts_of
end

--- Whom code acts as: an ID, and facts that the conditions of policies may ask for.
---@class security.Actor
local Actor, actors, create_actor, actor_of = make_type("security.Actor")

--- One rule: allows or denies what it matches, and says nothing of all else.
---@class security.Policy
local Policy, policies, create_policy, policy_of = make_type("security.Policy")

--- A set of policies. It never changes: `with` and `without` return another.
---@class security.Scope
local Scope, _, create_scope, scope_of = make_type("security.Scope")

local function pack_meta(meta)
  if type(meta) ~= "table" then
    return invalid("meta must be a table")
  end
  return pack(meta)
end

---------------------------------------------------------------------------------------------------
-- The code that asks

--- Returns whom the running code acts as; nil when nobody answers for it.
---
--- Example:
--- ```lua
--- local actor = security.actor()
--- logger.info("called", {by = actor and actor:id()})
--- ```
---@return security.Actor?
function M.actor()
  local id, meta = host.actor()
  return id and create_actor({ id = id, meta = meta })
end

--- Returns the policies that the running code is held to; nil when it has no scope.
---
--- Example:
--- ```lua
--- local scope = security.scope()
--- ```
---@return security.Scope?
function M.scope()
  local ids = host.scope()
  return ids and create_scope(unpack(ids))
end

--- Tells whether the running code may do something. INVALID: an action that is empty, a resource
--- that is no string, a `meta` that is no table of named fields.
---
--- Example:
--- ```lua
--- if not security.can("orders.refund", "order:7", {amount = 100}) then return nil, "no" end
--- ```
---@param action string
---@param resource string
---@param meta? table facts for conditions on `meta.*`
---@return boolean? allowed
---@return Error? err
function M.can(action, resource, meta)
  if not is_text(action) or type(resource) ~= "string" then
    return invalid("action must be a non-empty string, resource a string")
  end
  local packed, err
  if meta ~= nil then
    packed, err = pack_meta(meta)
    if not packed then
      return nil, err
    end
  end
  return host.can(action, resource, packed)
end

---------------------------------------------------------------------------------------------------
-- Policies, scopes and actors

--- Returns a policy by the ID of its entry; NOT_FOUND when there is none.
---
--- Example:
--- ```lua
--- local policy = security.policy("app:publish_orders")
--- ```
---@param id string
---@return security.Policy? policy
---@return Error? err
function M.policy(id)
  if not is_text(id) then
    return invalid("policy ID must be a non-empty string")
  end
  local ok, err = host.has_policy(id)
  if not ok then
    return nil, err
  end
  return create_policy(id)
end

--- Returns the policies of a group as a scope; NOT_FOUND when no policy is in it.
---
--- Example:
--- ```lua
--- local admins = security.named_scope("admins")
--- ```
---@param group string
---@return security.Scope? scope
---@return Error? err
function M.named_scope(group)
  if not is_text(group) then
    return invalid("group must be a non-empty string")
  end
  local ids, err = host.group(group)
  if not ids then
    return nil, err
  end
  return create_scope(unpack(ids))
end

local function with(ids, id)
  local more = {}
  for _, each in ipairs(ids) do
    if each == id then
      return ids
    end
    more[#more + 1] = each
  end
  more[#more + 1] = id
  return more
end

--- Makes a scope of policies, or an empty one.
---
--- Example:
--- ```lua
--- local scope = security.new_scope({security.policy("app:publish_orders")})
--- ```
---@param list? security.Policy[]
---@return security.Scope? scope
---@return Error? err
function M.new_scope(list)
  if list ~= nil and type(list) ~= "table" then
    return invalid("new_scope takes a list of policies")
  end
  local ids = {}
  for _, policy in ipairs(list or {}) do
    if not policies[policy] then
      return invalid("new_scope takes a list of policies, from security.policy")
    end
    ids = with(ids, policies[policy])
  end
  return create_scope(ids)
end

--- Makes an actor, to ask policies about. It changes nothing about whom the code acts as.
---
--- Example:
--- ```lua
--- local actor = security.new_actor("user:7", {role = "admin"})
--- ```
---@param id string
---@param meta? table
---@return security.Actor? actor
---@return Error? err
function M.new_actor(id, meta)
  if not is_text(id) then
    return invalid("actor ID must be a non-empty string")
  end
  local packed, err
  if meta ~= nil then
    packed, err = pack_meta(meta)
    if not packed then
      return nil, err
    end
  end
  return create_actor({ id = id, meta = packed })
end

--- Returns the actor's ID.
---
--- Example:
--- ```lua
--- local id = security.actor():id()
--- ```
---@return string
function Actor:id()
  local facts = actor_of(self) -- no tail call: the error's level counts this frame
  return facts.id
end

--- Returns a copy of the facts about the actor, empty when there are none.
---
--- Example:
--- ```lua
--- local team = security.actor():meta().team
--- ```
---@return table
function Actor:meta()
  local facts = actor_of(self)
  return facts.meta and unpack(facts.meta) or {}
end

---------------------------------------------------------------------------------------------------
-- Asking

local function evaluate(ids, actor, action, resource, meta)
  local who = {}
  if actor ~= nil then
    who = actors[actor]
    if not who then
      return invalid("actor must be an actor or nil")
    end
  end
  if not is_text(action) or type(resource) ~= "string" then
    return invalid("action must be a non-empty string, resource a string")
  end
  local packed, err
  if meta ~= nil then
    packed, err = pack_meta(meta)
    if not packed then
      return nil, err
    end
  end
  return host.evaluate(pack(ids), action, resource, who.id, who.meta, packed)
end

--- Returns the ID of the policy's entry.
---
--- Example:
--- ```lua
--- for _, policy in ipairs(security.scope():policies()) do print(policy:id()) end
--- ```
---@return string
function Policy:id()
  local id = policy_of(self)
  return id
end

--- Returns what the policy says: its effect where it matches, else "undefined".
---
--- Example:
--- ```lua
--- local policy, actor = security.policy("app:publish_orders"), security.new_actor("user:7")
--- local verdict = policy:evaluate(actor, "orders.refund", "order:7", {amount = 100})
--- ```
---@param actor security.Actor?
---@param action string
---@param resource string
---@param meta? table
---@return security.Verdict? verdict
---@return Error? err
function Policy:evaluate(actor, action, resource, meta)
  local id = policy_of(self)
  return evaluate({ id }, actor, action, resource, meta)
end

local function id_of(policy)
  return type(policy) == "string" and policy or policies[policy]
end

--- Returns a scope with one more policy.
---
--- Example:
--- ```lua
--- local scope = security.new_scope()
--- local wider = scope:with(security.policy("app:publish_orders"))
--- ```
---@param policy security.Policy
---@return security.Scope? scope
---@return Error? err
function Scope:with(policy)
  local ids = scope_of(self)
  if not policies[policy] then
    return invalid("with takes a policy, from security.policy")
  end
  return create_scope(with(ids, policies[policy]))
end

--- Returns a scope without a policy.
---
--- Example:
--- ```lua
--- local scope = security.new_scope({security.policy("app:publish_orders")})
--- local narrower = scope:without("app:publish_orders")
--- ```
---@param policy security.Policy|string or its ID
---@return security.Scope? scope
---@return Error? err
function Scope:without(policy)
  local ids, id, rest = scope_of(self), id_of(policy), {}
  if not id then
    return invalid("without takes a policy or its ID")
  end
  for _, each in ipairs(ids) do
    if each ~= id then
      rest[#rest + 1] = each
    end
  end
  return create_scope(rest)
end

--- Tells whether a policy is in the scope.
---
--- Example:
--- ```lua
--- local is_admin = security.scope():contains("app:admin")
--- ```
---@param policy security.Policy|string or its ID
---@return boolean? contained
---@return Error? err
function Scope:contains(policy)
  local ids, id = scope_of(self), id_of(policy)
  if not id then
    return invalid("contains takes a policy or its ID")
  end
  for _, each in ipairs(ids) do
    if each == id then
      return true
    end
  end
  return false
end

--- Returns the policies of the scope.
---
--- Example:
--- ```lua
--- local count = #security.scope():policies()
--- ```
---@return security.Policy[]
function Scope:policies()
  local list = {}
  for index, id in ipairs(scope_of(self)) do
    list[index] = create_policy(id)
  end
  return list
end

--- Returns what the policies say together: "deny" when one denies, else "allow" when one allows,
--- else "undefined".
---
--- Example:
--- ```lua
--- local actor, scope = security.new_actor("user:7"), security.named_scope("admins")
--- if scope:evaluate(actor, "orders.refund", "order:7") ~= "allow" then return nil, "no" end
--- ```
---@param actor security.Actor?
---@param action string
---@param resource string
---@param meta? table
---@return security.Verdict? verdict
---@return Error? err
function Scope:evaluate(actor, action, resource, meta)
  local ids = scope_of(self)
  return evaluate(ids, actor, action, resource, meta)
end

return M
