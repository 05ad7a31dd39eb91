--[[
Popups that are offered until somebody has seen them. Pure: no Redis call, no clock.

list      of {id, expires, offered, fire}: the activation's id; when it ends and when it was offered last, ms; what is
          handed over again. The oldest first.
]]
local offers = {
  MOST = 5, -- a row remembers
  PAUSE = 10000, -- ms in which the tag can say that it was seen
}

--- Add an offer that is in an answer now.
function offers.add(list, id, expires, now, fire)
  if #list >= offers.MOST then table.remove(list, 1) end
  list[#list + 1] = { id, expires, now, fire }
end

--- Return the fire of the offer whose turn it is, or nil; what has ended is forgotten.
function offers.turn(list, now)
  for i = #list, 1, -1 do
    if list[i][2] <= now then table.remove(list, i) end
  end
  for _, offer in ipairs(list) do
    if now - offer[3] >= offers.PAUSE then
      offer[3] = now
      return offer[4]
    end
  end
end

--- Forget the offer `id`: it was seen. Returns whether there was one.
function offers.see(list, id)
  for i, offer in ipairs(list) do
    if offer[1] == id then
      table.remove(list, i)
      return true
    end
  end
  return false
end

return offers
