--[[
Popups that are offered until they are seen. Pure: no Redis call, no clock.

list      of {id, expires, offered, firing}: the activation's id; when the offer expires and when it was last made, ms;
          what is handed over again. The oldest comes first.
]]
local offers = {
  MAX = 5, -- that a row remembers
  PAUSE = 10000, -- ms that the tag has for reporting that it was seen
}

--- Add an offer that the current response makes.
function offers.add(list, id, expires, now, firing)
  if #list >= offers.MAX then table.remove(list, 1) end
  list[#list + 1] = { id, expires, now, firing }
end

--- Return the firing of the next offer to make again, or nil; drop offers that have expired.
function offers.next(list, now)
  for i = #list, 1, -1 do
    if list[i][OFFER.expires] <= now then table.remove(list, i) end
  end
  for _, offer in ipairs(list) do
    if math.abs(now - offer[OFFER.offered]) >= offers.PAUSE then
      offer[OFFER.offered] = now
      return offer[OFFER.firing]
    end
  end
end

--- Remove the offer `id`; return whether there was one.
function offers.remove(list, id)
  for i, offer in ipairs(list) do
    if offer[OFFER.id] == id then
      table.remove(list, i)
      return true
    end
  end
  return false
end

return offers
